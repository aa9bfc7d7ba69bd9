// One script for every "guess first": the reader commits to a number or a curve, then the answer opens.
// Without this script the answer lies folded under "Show the answer".
(() => {
  "use strict";
  if (window.sbGuesses) { window.sbGuesses(); return; } // a notebook carries a copy of this script beside each guess

  const kept = { // private windows and some file systems refuse storage; a guess is then simply not remembered
    get(key) { try { return localStorage.getItem(key); } catch (error) { return null; } },
    set(key, value) {
      try {
        if (value === null) localStorage.removeItem(key); else localStorage.setItem(key, value);
      } catch (error) { /* not remembered */ }
    },
  };
  const skip = "Show the answer without guessing";
  const short = value => String(Number(value.toPrecision(3))).replace("-", "−");
  const unit = data => data.unit ? ` ${data.unit}` : "";

  function distance(data, guess) { // how far off, in plain words
    const side = guess > data.truth ? "high" : "low";
    if (!data.log) {
      const off = Math.abs(guess - data.truth);
      if (off <= 0.02 * (data.high - data.low)) return "That is right.";
      return `That is ${short(off)}${unit(data)} too ${side}.`;
    }
    const factor = Math.max(guess / data.truth, data.truth / guess), percent = 100 * Math.abs(guess / data.truth - 1);
    if (factor <= 1.05) return "That is right, to within 5 %.";
    if (factor < 2) return `That is ${Math.round(percent)} % too ${side}.`;
    if (factor < 9.5) return `That is about ${short(Number(factor.toPrecision(2)))} times too ${side}.`;
    const powers = Math.round(Math.log10(factor) * 10) / 10;
    return `That is about ${powers === 1 ? "ten times" : `${powers} powers of ten`} too ${side}.`;
  }

  function line(data, guess) { // both on one line, the guess above and the answer below
    const f = data.log ? Math.log10 : Number, span = f(data.high) - f(data.low);
    const at = value => Math.round(24 + 312 * (f(value) - f(data.low)) / span);
    const side = x => x < 90 ? "start" : x > 270 ? "end" : "middle";
    const x = at(guess), t = at(data.truth);
    return `<svg class="sb-guess-line" viewBox="0 0 360 76" aria-hidden="true"><path d="M24 38H336M24 32V44M336 32V44"/>`
      + `<circle class="sb-true" cx="${t}" cy="38" r="7"/><circle class="sb-yours" cx="${x}" cy="38" r="5"/>`
      + `<text x="${x}" y="22" text-anchor="${side(x)}">you: ${short(guess)}</text>`
      + `<text x="${t}" y="66" text-anchor="${side(t)}">answer: ${short(data.truth)}</text></svg>`;
  }

  function live(section) {
    section.dataset.live = "";
    const find = selector => section.querySelector(selector);
    const data = JSON.parse(find(':scope > script').textContent);
    const form = find("form"), told = find(".sb-told"), drawn = find(".sb-drawn"), answer = find("details");
    const key = `sb-guess:${section.id}`, again = find("[data-do=again]"), fields = [...form.querySelectorAll("input")];

    function commit(guess, opening) {
      if (data.kind === "number") {
        told.textContent = `${opening} ${short(guess)}${unit(data)}. ${distance(data, guess)}`;
        drawn.innerHTML = line(data, guess);
      } else {
        told.textContent = `${guess === data.truth ? "✓ Right." : "✗ Not this one."} ${data.told[guess]}`;
        form.querySelectorAll(".sb-mark").forEach((mark, i) => {
          mark.textContent = i === data.truth ? " ✓ measured" : i === guess ? " ✗ your guess" : "";
        });
      }
      fields.forEach(field => { field.disabled = true; });
      find("[type=submit]").hidden = true;
      again.hidden = false;
      find("summary").textContent = "The answer";
      answer.open = true;
    }

    form.addEventListener("submit", event => {
      event.preventDefault();
      const value = new FormData(form).get("guess");
      if (value === null || value === "") return;
      kept.set(key, value);
      commit(Number(value), "You said");
      again.focus();
    });
    again.addEventListener("click", () => {
      kept.set(key, null);
      told.textContent = drawn.innerHTML = "";
      form.querySelectorAll(".sb-mark").forEach(mark => { mark.textContent = ""; });
      fields.forEach(field => { field.disabled = false; });
      find("[type=submit]").hidden = false;
      again.hidden = true;
      find("summary").textContent = skip;
      answer.open = false;
      fields[0].focus();
    });

    form.hidden = false;
    find("summary").textContent = skip;
    const before = kept.get(key), number = Number(before);
    const usable = data.kind === "number" ? number >= data.low && number <= data.high : number in data.told;
    if (before !== null && before !== "" && usable) {
      if (data.kind === "number") fields[0].value = before; else fields[number].checked = true;
      commit(number, "Last time you said");
    }
  }

  window.sbGuesses = () => document.querySelectorAll(".sb-guess:not([data-live])").forEach(live);
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", window.sbGuesses);
  else window.sbGuesses();
})();
