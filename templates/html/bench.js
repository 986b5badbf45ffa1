"use strict";
// Everything here adds to a page that is complete without it: filters, sorting, links into folds, printing.
(() => {
  const collator = new Intl.Collator("en", { numeric: true });
  const ORDERS = {
    worst: (a, b) => a.dataset.rank - b.dataset.rank,
    best: (a, b) => b.dataset.rank - a.dataset.rank,
    id: (a, b) => collator.compare(a.dataset.id, b.dataset.id),
    turns: (a, b) => b.dataset.turns - a.dataset.turns || a.dataset.rank - b.dataset.rank,
    differences: (a, b) => b.dataset.differences - a.dataset.differences || a.dataset.rank - b.dataset.rank,
  };
  const KEEP = {
    all: () => true,
    failed: (s) => s.dataset.error !== "",
    added: (s) => s.dataset.added !== "",
    missed: (s) => s.dataset.missed !== "",
    agree: (s) => s.dataset.error === "" && s.dataset.added === "" && s.dataset.missed === "",
  };
  const has = (list, name) => list.split("|").includes(name);

  for (const form of document.querySelectorAll("form.tools")) {
    const list = document.getElementById(form.dataset.list);
    const samples = [...list.children];
    const texts = new Map(samples.map((s) => [s, s.textContent.toLowerCase()]));
    const field = (name) => form.elements.namedItem(name);
    const value = (name, none) => (field(name) ? field(name).value : none);

    const update = () => {
      const words = value("text", "").toLowerCase().split(/\s+/).filter(Boolean);
      const keep = KEEP[value("show", "all")];
      const finding = value("finding", "");
      let shown = 0;
      for (const sample of samples) {
        const named = finding === "" || has(sample.dataset.added, finding) || has(sample.dataset.missed, finding);
        sample.hidden = !(keep(sample) && named && words.every((w) => texts.get(sample).includes(w)));
        shown += sample.hidden ? 0 : 1;
      }
      list.append(...[...samples].sort(ORDERS[value("sort", "worst")]));
      form.querySelector("output").textContent = `${shown} of ${samples.length} shown`;
    };
    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(update));
    const folds = form.querySelector("[data-fold]");
    folds.addEventListener("click", () => {
      const open = folds.getAttribute("aria-pressed") !== "true";
      folds.setAttribute("aria-pressed", String(open));
      folds.textContent = open ? "Close all" : "Open all";
      for (const sample of samples) sample.open = open;
    });
    const diff = form.querySelector("[data-words]");
    if (diff) {
      diff.addEventListener("click", () => {
        const open = diff.getAttribute("aria-pressed") !== "true";
        diff.setAttribute("aria-pressed", String(open));
        for (const fold of list.querySelectorAll("details.words")) fold.open = open;
      });
    }
    form.hidden = false;
    update();
  }

  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") {
      target.hidden = false;
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", reveal);
  reveal();

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const fold of closed) fold.open = true;
  });
  addEventListener("afterprint", () => closed.forEach((fold) => { fold.open = false; }));
})();
