// One script for every explorer of the book. The values were computed when the book was built and lie in the page; moving
// a slider only chooses which of them are drawn. Nothing is loaded, and without this script the still picture stays.
(() => {
  "use strict";
  if (window.sbExplorers) { window.sbExplorers(); return; } // a notebook carries a copy beside each figure

  const digits = value => String(Math.round(value * 10) / 10);
  const scale = axis => value => axis.at + axis.per * (axis.log ? Math.log10(value) : value);

  // where the values of the present setting start: a series that a control does not move has step 0 there
  const offset = (steps, at) => steps.reduce((sum, step, k) => sum + step * at[k], 0);

  function curve(series, at, X, Y) {
    const from = offset(series.step, at), n = series.x.length;
    const value = name => series[name].slice(from, from + n);
    const xs = series.x.map(x => digits(X(x)));
    const level = name => value(name).map(v => v === null ? null : digits(Y(v)));
    const ys = level("y"), colour = `sb-s${series.colour}`;
    let html = "";
    if (series.low) {
      const low = level("low"), high = level("high");
      const ok = xs.map((_, i) => i).filter(i => low[i] !== null && high[i] !== null);
      if (series.bars) {
        html += `<path class="sb-bars ${colour}" d="${ok.map(i => `M${xs[i]} ${low[i]}V${high[i]}`).join("")}"/>`;
      } else if (ok.length) {
        const there = ok.map(i => `${xs[i]} ${high[i]}`), back = ok.map(i => `${xs[i]} ${low[i]}`).reverse();
        html += `<path class="sb-area ${colour}" d="M${[...there, ...back].join("L")}Z"/>`;
      }
    }
    if (series.line) {
      const joined = i => i > 0 && ys[i - 1] !== null;
      const path = xs.map((x, i) => ys[i] === null ? "" : `${joined(i) ? "L" : "M"}${x} ${ys[i]}`).join("");
      html += `<path class="sb-curve ${colour}${series.dashed ? " sb-dashed" : ""}" d="${path}"/>`;
    }
    if (series.marker) {
      const raw = value("y");
      xs.forEach((x, i) => {
        if (ys[i] === null) return;
        html += `<path class="sb-point ${colour}" transform="translate(${x} ${ys[i]})" d="${series.marker}">`
          + `<title>${series.title}: ${series.x[i]}, ${raw[i]}</title></path>`;
      });
    }
    return html;
  }

  function plane(cells, at) {
    const from = offset(cells.step, at), wide = cells.x.length;
    let html = "";
    for (let row = 0; row < cells.y.length; row++) {
      for (let column = 0; column < wide; column++) {
        const value = cells.z[from + row * wide + column];
        if (value === null) continue;
        const [x, width] = cells.x[column], [y, height] = cells.y[row];
        const shade = cells.cuts.filter(cut => cut <= value).length;
        html += `<rect class="sb-z${shade}" x="${x}" y="${y}" width="${width}" height="${height}">`
          + `<title>${value}</title></rect>`;
      }
    }
    return html;
  }

  function table(data) { // every value of every setting, as comma-separated text
    const quote = text => /[",\n]/.test(text) ? `"${String(text).replace(/"/g, '""')}"` : text;
    const rows = [[...data.controls.map(c => c.key), "series", ...data.columns]];
    const visit = (at, k) => {
      if (k < data.controls.length) { data.controls[k].values.forEach((_, i) => visit([...at, i], k + 1)); return; }
      const settings = at.map((i, j) => data.controls[j].values[i]);
      for (const s of data.series) {
        const from = offset(s.step, at);
        s.x.forEach((x, i) => rows.push([...settings, s.label, x, s.y[from + i],
          ...(s.low ? [s.low[from + i], s.high[from + i]] : [])]));
      }
      if (data.plane) {
        const from = offset(data.plane.step, at), wide = data.plane.xs.length;
        data.plane.ys.forEach((y, r) => data.plane.xs.forEach((x, c) =>
          rows.push([...settings, "plane", x, y, data.plane.z[from + r * wide + c]])));
      }
    };
    visit([], 0);
    return rows.map(row => row.map(v => v === null ? "" : quote(v)).join(",")).join("\n") + "\n";
  }

  // the address holds "#explore-name=key:value,key:value&explore-other=..."; any other anchor is left as it is
  const parts = () => location.hash.slice(1).split("&").filter(part => /^explore-[^=]+=/.test(part));
  const word = control => i => `${control.key}:${encodeURIComponent(control.values[i])}`;

  function wanted(data, id) {
    const own = parts().find(part => part.startsWith(`${id}=`));
    if (!own) return null;
    const given = new Map(own.slice(id.length + 1).split(",").map(pair => pair.split(/:(.*)/)));
    return data.controls.map(control => {
      const found = control.values.findIndex((_, i) => word(control)(i) === `${control.key}:${given.get(control.key)}`);
      return found < 0 ? control.start : found;
    });
  }

  function live(figure) {
    figure.dataset.live = "";
    const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const find = selector => figure.querySelector(selector);
    const inputs = [...figure.querySelectorAll("[data-key]")], outputs = [...figure.querySelectorAll("output")];
    const X = scale(data.x), Y = scale(data.y), id = figure.id, begin = data.controls.map(control => control.start);
    const sizes = data.controls.map(control => control.values.length);
    let at = begin, waiting = 0;
    const mine = () => `${id}=${data.controls.map((control, k) => word(control)(at[k])).join(",")}`;

    function show() {
      const curves = data.series.map(series => curve(series, at, X, Y)).join("");
      find(".sb-marks").innerHTML = (data.plane ? plane(data.plane, at) : "") + curves;
      data.controls.forEach((control, k) => {
        inputs[k].value = at[k];
        outputs[k].textContent = control.labels[at[k]];
        if (inputs[k].type === "range") inputs[k].setAttribute("aria-valuetext", control.labels[at[k]]);
      });
      find(".sb-at-text").textContent = data.controls.map((c, k) => `${c.label} = ${c.labels[at[k]]}`).join(", ");
      find(".sb-readout").textContent = data.say[at.reduce((index, i, k) => index * sizes[k] + i, 0)];
    }

    function remember() {
      const moved = at.some((i, k) => i !== begin[k]);
      const all = [...parts().filter(part => !part.startsWith(`${id}=`)), ...(moved ? [mine()] : [])];
      if (!all.length && !parts().length) return; // nothing of ours in the address: leave a reader's anchor alone
      try {
        history.replaceState(history.state, "", all.length ? `#${all.join("&")}` : location.pathname + location.search);
      } catch (error) { /* a frame without an address of its own (a notebook in an editor): the figure still moves */ }
    }

    const say = text => { find(".sb-said").textContent = text; };
    inputs.forEach((input, k) => input.addEventListener("input", () => {
      at = at.map((i, j) => j === k ? +input.value : i);
      show();
      say("");
      clearTimeout(waiting); // browsers refuse hundreds of address changes in a row, as a held key would make
      waiting = setTimeout(remember, 150);
    }));
    const press = (name, action) => find(`[data-do="${name}"]`).addEventListener("click", action);
    press("reset", () => { at = begin; show(); remember(); say("Back at the start."); });
    press("link", () => {
      const address = `${location.href.split("#")[0]}#${mine()}`;
      const copied = navigator.clipboard ? navigator.clipboard.writeText(address) : Promise.reject();
      copied.then(() => say("Link copied."), () => {
        location.replace(`#${mine()}`);
        say("The address bar now holds this view.");
      });
    });
    press("csv", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([table(data)], {type: "text/csv"}));
      link.download = `${id}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    const follow = arriving => {
      const asked = wanted(data, id);
      if (asked) { at = asked; show(); if (arriving || parts().length === 1) figure.scrollIntoView({block: "center"}); }
    };
    addEventListener("hashchange", () => follow(false)); // a link in the text may ask for a view
    find(".sb-controls").hidden = false;
    show();
    follow(parts()[0]?.startsWith(`${id}=`));
  }

  window.sbExplorers = () => document.querySelectorAll(".sb-explorer:not([data-live])").forEach(live);
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", window.sbExplorers);
  else window.sbExplorers();
})();
