// Filter and order the ledger. The table is complete without this script; the state is kept in the address.
(() => {
  "use strict";
  const form = document.getElementById("ledger-filter"), table = document.getElementById("ledger");
  if (!form || !table) return;
  const body = table.tBodies[0], fields = form.elements;
  const order = ["reproduced", "not reproduced", "inconclusive", "not run", "planned"];
  const rows = [...body.rows].map((row, place) => ({ row, place, ...row.dataset, id: row.id, text: "" }));
  const named = ["text", "verdict", "part", "chapter", "fidelity", "sort"];
  const orders = {
    "": (a, b) => a.place - b.place,
    verdict: (a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict) || a.place - b.place,
    year: (a, b) => b.year - a.year || a.place - b.place,
    id: (a, b) => (a.id < b.id ? -1 : 1),
  };
  let sorted = "", noting = 0;

  function apply() {
    const wanted = Object.fromEntries(named.map(name => [name, fields[name].value]));
    const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of rows) {
      if (words.length && !item.text) item.text = item.row.textContent.toLowerCase();
      const fits = ["verdict", "part", "chapter", "fidelity"].every(name => !wanted[name] || item[name] === wanted[name])
        && words.every(word => item.text.includes(word));
      if (item.row.hidden === fits) item.row.hidden = !fits;
      shown += fits;
    }
    if (wanted.sort !== sorted) {
      sorted = wanted.sort;
      body.append(...[...rows].sort(orders[sorted]).map(item => item.row));
    }
    fields.count.value = shown === rows.length ? `${shown} claims` : `${shown} of ${rows.length} claims`;
    clearTimeout(noting);
    noting = setTimeout(note, 400, wanted); // not at every key: browsers slow down pages that rewrite their address fast
  }

  function note(wanted) {
    const query = new URLSearchParams(named.filter(name => wanted[name]).map(name => [name, wanted[name]])).toString();
    try {
      history.replaceState(null, "", (query ? `?${query}` : location.pathname) + location.hash);
    } catch { /* some browsers forbid this for pages on disk; the filter works all the same */ }
  }

  const asked = new URLSearchParams(location.search);
  for (const name of named) {
    const value = asked.get(name);
    if (value === null) continue;
    fields[name].value = value;
    if (fields[name].value !== value) fields[name].value = "";
  }
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply();
  if (location.hash.length > 1) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
})();
