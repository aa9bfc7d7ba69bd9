// Small comforts for every page: copy buttons, permanent links, enlarged figures, folds that open when linked or printed.
(() => {
  "use strict";
  document.documentElement.classList.add("sb-script");

  async function copy(button, text) {
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea"); // browsers that keep the clipboard from pages on disk
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  }

  for (const link of document.querySelectorAll("a.sb-permalink")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sb-copy sb-copy-link";
    button.textContent = "Copy link";
    button.setAttribute("aria-label", `Copy the link to ${link.textContent}`);
    button.dataset.link = link.getAttribute("href");
    link.after(button);
  }

  function enlarge(link) {
    const dialog = document.createElement("dialog");
    dialog.className = "sb-lightbox";
    dialog.setAttribute("aria-label", "Enlarged figure");
    const picture = document.createElement("img");
    picture.src = link.href;
    picture.alt = link.querySelector("img").alt;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "sb-copy";
    close.textContent = "Close";
    dialog.append(picture, close);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
    document.body.append(dialog);
    dialog.showModal();
  }

  document.addEventListener("click", event => {
    const button = event.target.closest(".sb-copy");
    if (button?.dataset.copy) copy(button, button.dataset.copy);
    if (button?.dataset.link) copy(button, new URL(button.dataset.link, location.href.split(/[?#]/)[0]).href);
    const zoom = event.target.closest("a.sb-zoom");
    if (zoom && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      enlarge(zoom);
    }
  });

  // a formula wider than the screen scrolls, so the keyboard must reach it (after MathJax has set it, and after turning a phone)
  function reachWide() {
    for (const formula of document.querySelectorAll("div.math")) {
      if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
      else formula.removeAttribute("tabindex");
    }
  }
  addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(reachWide));
  addEventListener("resize", reachWide);

  function openTarget() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (target.matches("tr")) for (const fold of target.querySelectorAll("details")) fold.open = true;
  }
  addEventListener("hashchange", openTarget);
  openTarget();

  // on paper nothing can be unfolded, nothing is loaded later and the ground is white; the ledger, 374 folds, stays folded
  let ground = "";
  addEventListener("beforeprint", () => {
    ground = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    for (const fold of document.querySelectorAll(".sb-card details, .sb-outcomes")) fold.open = true;
    for (const picture of document.images) picture.loading = "eager";
  });
  addEventListener("afterprint", () => { document.documentElement.dataset.theme = ground; });
})();
