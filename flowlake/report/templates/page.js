"use strict";
// One script for all pages: theme, sorting, filters, tabs, refresh, acknowledgement. Pages are complete without it.
(() => {
  const root = document.documentElement;
  const served = location.protocol.startsWith("http");
  // What people chose lives in the address after '#!', so that it survives a refresh and needs no storage.
  const chosen = new URLSearchParams(location.hash.startsWith("#!") ? location.hash.slice(2) : "");
  const remember = (key, value) => {
    if (value) chosen.set(key, value); else chosen.delete(key);
    const text = chosen.toString();
    if (text || location.hash.startsWith("#!")) history.replaceState(history.state, "", text ? "#!" + text : "#!");
  };
  // Browsers may refuse storage (private windows, files); the toggle then holds for this page alone.
  const storage = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { return; } },
  };

  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const wanted = chosen.get("theme") || storage.get("flowlake-theme");
  if (wanted === "dark" || wanted === "light") root.dataset.theme = wanted;

  function themeToggle(button) {
    const show = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
    button.hidden = false;
    show();
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      storage.set("flowlake-theme", root.dataset.theme);
      remember("theme", root.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
  }

  const valueOf = (cell) => (cell ? cell.dataset.v ?? cell.textContent.trim() : "");
  const columnOf = (table, key) => [...table.tHead.rows[0].cells].findIndex((cell) => cell.dataset.key === key);

  function compare(one, other, descending) {
    // Unknown values stay last in either direction.
    if (one === "" || other === "") return (one === "") - (other === "");
    const numeric = one !== "" && other !== "" && !Number.isNaN(+one) && !Number.isNaN(+other);
    const order = numeric ? one - other : one.localeCompare(other, "en", { numeric: true });
    return descending ? -order : order;
  }

  function sortTable(table, column, descending) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, index) => [valueOf(row.cells[column]), index, row]);
    rows.sort((a, b) => compare(a[0], b[0], descending) || a[1] - b[1]);
    body.append(...rows.map((entry) => entry[2]));
    [...table.tHead.rows[0].cells].forEach((cell, index) => {
      if (index === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  function sortable(table) {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => {
        const first = cell.classList.contains("n") ? "descending" : "ascending";
        const descending = cell.hasAttribute("aria-sort") ? cell.getAttribute("aria-sort") === "ascending" : first === "descending";
        sortTable(table, column, descending);
        remember("sort." + table.id, cell.dataset.key + (descending ? "-" : ""));
      });
    });
    const kept = chosen.get("sort." + table.id);
    if (!kept) return;
    const column = columnOf(table, kept.replace(/-$/, ""));
    if (column >= 0) sortTable(table, column, kept.endsWith("-"));
  }

  const tests = {
    is: (text, want) => text.split("|").includes(want),
    min: (text, want) => text !== "" && +text >= +want,
    has: (text, want) => text.toLowerCase().includes(want.toLowerCase()),
  };

  function filters(form) {
    const target = document.getElementById(form.dataset.for);
    const controls = [...form.querySelectorAll("[data-op]")];
    const output = form.querySelector("output");
    const items = () => (target.tBodies ? [...target.tBodies[0].rows] : [...target.children]);
    const subject = (item, control) => {
      if (!control.dataset.key) return item.dataset.words ?? item.textContent;
      return target.tBodies ? valueOf(item.cells[columnOf(target, control.dataset.key)]) : item.dataset[control.dataset.key] ?? "";
    };
    const name = (control) => form.dataset.for + "." + (control.dataset.key || "q");
    const apply = () => {
      const active = controls.filter((control) => control.value.trim() !== "");
      let shown = 0;
      const all = items();
      for (const item of all) {
        const fits = active.every((control) => tests[control.dataset.op](subject(item, control), control.value.trim()));
        item.hidden = !fits;
        shown += fits;
      }
      output.textContent = shown + " of " + all.length + " shown";
    };
    controls.forEach((control) => {
      control.value = chosen.get(name(control)) || "";
      control.addEventListener("input", () => { remember(name(control), control.value.trim()); apply(); });
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    apply();
  }

  function tabs(holder) {
    const panels = [...holder.querySelectorAll(":scope > .panel")];
    const list = document.createElement("div");
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", holder.dataset.tabs);
    const buttons = panels.map((panel) => {
      const button = document.createElement("button");
      button.type = "button";
      button.id = "tab-" + panel.id;
      button.textContent = panel.dataset.tab;
      button.setAttribute("role", "tab");
      button.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", button.id);
      return button;
    });
    const select = (index, focus) => {
      buttons.forEach((button, number) => {
        const active = number === index;
        button.setAttribute("aria-selected", String(active));
        button.tabIndex = active ? 0 : -1;
        panels[number].hidden = !active;
      });
      if (focus) buttons[index].focus();
    };
    const moves = { ArrowRight: (at) => at + 1, ArrowLeft: (at) => at - 1, Home: () => 0, End: () => buttons.length - 1 };
    buttons.forEach((button, index) => {
      button.addEventListener("click", () => { select(index); remember("tab", panels[index].id); });
      button.addEventListener("keydown", (event) => {
        if (!(event.key in moves)) return;
        event.preventDefault();
        const next = (moves[event.key](index) + buttons.length) % buttons.length;
        select(next, true);
        remember("tab", panels[next].id);
      });
    });
    list.append(...buttons);
    holder.prepend(list);
    select(Math.max(0, panels.findIndex((panel) => panel.id === chosen.get("tab"))));
  }

  function refresh(note) {
    // A page opened as a file has nobody to ask for news.
    if (!served) return;
    const button = note.querySelector("button");
    const text = note.querySelector("[data-refresh-text]");
    const running = text.textContent;
    let paused = chosen.get("paused") === "1";
    const show = () => {
      button.textContent = paused ? "Resume" : "Pause";
      button.setAttribute("aria-pressed", String(paused));
      text.textContent = paused ? "Updates are paused." : running;
    };
    button.addEventListener("click", () => { paused = !paused; remember("paused", paused ? "1" : ""); show(); });
    setInterval(() => {
      const busy = document.hidden || document.activeElement?.matches("input, select");
      if (!paused && !busy) location.reload();
    }, 1000 * note.dataset.refresh);
    note.hidden = false;
    show();
  }

  function acknowledgement(button) {
    // Only `flowlake serve` can write it down; a page opened as a file shows the state alone.
    if (!served) return;
    const cell = button.closest("td");
    const state = cell.querySelector("[data-state]");
    button.hidden = false;
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const answer = await fetch("/api/v1/alerts/" + encodeURIComponent(button.dataset.acknowledge) + "/acknowledge", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ by: "market page" }),
        });
        if (!answer.ok) throw new Error("the server answered " + answer.status);
        state.textContent = "acknowledged";
        cell.dataset.v = "acknowledged";
        button.remove();
      } catch (error) {
        state.textContent = "not acknowledged: " + error.message;
        button.disabled = false;
      }
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-theme-toggle]").forEach(themeToggle);
    document.querySelectorAll("table[data-sort]").forEach(sortable);
    document.querySelectorAll("form[data-for]").forEach(filters);
    document.querySelectorAll("[data-tabs]").forEach(tabs);
    document.querySelectorAll("[data-refresh]").forEach(refresh);
    document.querySelectorAll("[data-acknowledge]").forEach(acknowledgement);
  });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
})();
