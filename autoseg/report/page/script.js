"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const panel = document.getElementById("details");
  const make = (name, text, className) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };

  // Hover: the text of the native tooltip, without delay and for the nearest point.
  const tip = make("div");
  tip.id = "tip";
  tip.hidden = true;
  const showTip = (point) => {
    const charts = point.closest(".charts");
    const label = point.getAttribute("aria-label");
    const cut = label.indexOf(", ", label.indexOf("IoU"));
    tip.replaceChildren(make("b", label.slice(0, cut)), label.slice(cut + 2));
    charts.append(tip);
    tip.hidden = false;
    const at = point.getBoundingClientRect();
    const around = charts.getBoundingClientRect();
    const left = at.left + at.width / 2 - around.left - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(0, Math.min(left, around.width - tip.offsetWidth))}px`;
    const above = at.top - around.top - tip.offsetHeight - 8;
    tip.style.top = `${above < 0 ? at.bottom - around.top + 8 : above}px`;
  };
  const hideTip = () => { tip.hidden = true; };

  // Click: the model's results, and its contact sheet where the page has it.
  const rows = (list) => {
    const found = make("dl");
    for (const [name, value] of list) found.append(make("dt", name), make("dd", value));
    return found;
  };
  const pictures = (key) => {
    const sheet = document.getElementById(`sheet-${key}`);
    if (!sheet) return [];
    const copy = sheet.cloneNode();
    copy.removeAttribute("id");
    return [copy];
  };
  const link = (text, href) => {
    const paragraph = make("p");
    const anchor = make("a", text);
    anchor.href = href;
    paragraph.append(anchor);
    return paragraph;
  };
  const choose = (point) => {
    const key = point.dataset.key;
    const known = data[point.dataset.run][key];
    for (const each of document.querySelectorAll(".point.chosen")) each.classList.remove("chosen");
    for (const each of document.querySelectorAll(`.point[data-key="${key}"][data-run="${point.dataset.run}"]`)) each.classList.add("chosen");
    const parts = [make("h3", known.run ? `${known.run}: ${key}` : key), rows(known.rows), ...pictures(key)];
    if (known.section && document.getElementById(`model-${key}`)) parts.push(link("details of this model", `#model-${key}`));
    if (known.beside) parts.push(link("its contact sheet, beside this report", known.beside));
    panel.replaceChildren(...parts);
  };

  for (const svg of document.querySelectorAll("svg.front")) {
    const points = [...svg.querySelectorAll(".point")];
    for (const point of points) point.querySelector("title")?.remove();
    const inOrder = [...points].sort((a, b) => a.dataset.x - b.dataset.x);
    const nearest = (event) => {
      const matrix = svg.getScreenCTM();
      let best = null;
      let least = event.pointerType === "touch" ? 30 : 16;
      for (const point of points) {
        const dx = point.dataset.x * matrix.a + matrix.e - event.clientX;
        const dy = point.dataset.y * matrix.d + matrix.f - event.clientY;
        const away = Math.hypot(dx, dy);
        // Of points at the same position, the one drawn last.
        if (away <= least) [best, least] = [point, away];
      }
      return best;
    };
    svg.addEventListener("pointermove", (event) => {
      const point = nearest(event);
      svg.style.cursor = point ? "pointer" : "";
      point ? showTip(point) : hideTip();
    });
    svg.addEventListener("pointerleave", hideTip);
    svg.addEventListener("click", (event) => {
      event.preventDefault();
      const point = event.detail === 0 ? event.target.closest(".point") : nearest(event) ?? event.target.closest(".point");
      if (!point) return;
      choose(point);
      point.focus({ preventScroll: true });
    });
    svg.addEventListener("focusin", (event) => {
      const point = event.target.closest(".point");
      if (point) showTip(point);
    });
    svg.addEventListener("focusout", hideTip);
    svg.addEventListener("keydown", (event) => {
      const point = event.target.closest(".point");
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (point && step) {
        event.preventDefault();
        inOrder[(inOrder.indexOf(point) + step + inOrder.length) % inOrder.length].focus();
      }
      if (point && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        choose(point);
      }
    });
    // Without a front, the first point takes the keyboard focus.
    if (points.length && !points.some((point) => point.tabIndex === 0)) inOrder[0].tabIndex = 0;
  }

  // Sorting: numbers by value, missing values last.
  const order = (a, b, way) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = !Number.isNaN(Number(a)) && !Number.isNaN(Number(b));
    return way * (numbers ? a - b : a.localeCompare(b));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = make("button", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
        const by = (row) => row.cells[column].dataset.by;
        body.append(...[...body.rows].sort((a, b) => order(by(a), by(b), way)));
      });
    });
  }

  // A link to a model opens its section.
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.tagName === "DETAILS") {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest('a[href^="#model-"]');
    if (anchor && !anchor.closest("svg.front") && anchor.getAttribute("href") === location.hash) open();
  });
  open();
})();
