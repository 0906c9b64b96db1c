// An audit of the page it runs in: contrast, names, headings, tables, pictures, landmarks, width. One line per fault.
() => {
  const faults = [];
  const seen = new Set();
  const fault = (text) => { if (!seen.has(text) && seen.size < 30) { seen.add(text); faults.push(text); } };
  const path = (node) => `${node.tagName.toLowerCase()}${node.id ? "#" + node.id : ""}.${(node.getAttribute("class") || "").replaceAll(" ", ".")}`;
  const visible = (node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest(".unseen, .skip, title, desc");

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const colour = (text) => {
    if (!known.has(text)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(text, [r, g, b, a / 255]);
    }
    return known.get(text);
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const backgrounds = new Map();
  const background = (node) => {
    if (!node) return colour("white");
    if (!backgrounds.has(node)) {
      const own = colour(getComputedStyle(node).backgroundColor);
      backgrounds.set(node, own[3] >= 0.999 ? own : over(own, background(node.parentElement)));
    }
    return backgrounds.get(node);
  };
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || node.tagName === "SCRIPT" || node.tagName === "OPTION" || !visible(node)) continue;
    const style = getComputedStyle(node);
    const drawn = node instanceof SVGElement;
    const below = background(drawn ? node.closest("svg").parentElement : node);
    const ratio = contrast(over(colour(drawn ? style.fill : style.color), below), below);
    if (ratio < 4.5) fault(`contrast ${ratio.toFixed(2)} of ${path(node)} "${walker.currentNode.textContent.trim().slice(0, 20)}"`);
  }

  for (const control of document.querySelectorAll("input, select, button, a[href], summary, [role=tab]")) {
    const label = control.getAttribute("aria-label") || [...(control.labels || [])].map((one) => one.textContent).join("") || control.textContent;
    if (!label.trim()) fault(`no name: ${path(control)}`);
  }
  let level = 0;
  const headings = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(visible);
  for (const heading of headings) {
    const next = +heading.tagName[1];
    if (next > level + 1) fault(`heading ${next} after ${level}: ${heading.textContent.trim().slice(0, 40)}`);
    level = next;
  }
  if (document.querySelectorAll("h1").length !== 1) fault("not exactly one h1");
  for (const table of document.querySelectorAll("table")) {
    if (!table.caption?.textContent.trim()) fault(`no caption: ${path(table)}`);
    for (const cell of table.querySelectorAll("th")) if (!cell.hasAttribute("scope")) fault(`no scope: ${cell.textContent}`);
    const wide = table.tHead.rows[0].cells.length;
    for (const row of table.tBodies[0].rows) if (row.cells.length !== wide) fault(`${row.cells.length} cells under ${wide} heads: ${path(table)}`);
  }
  for (const picture of document.querySelectorAll("svg")) {
    if (picture.getAttribute("role") !== "img" || !picture.getAttribute("aria-label")) fault(`picture without a name: ${path(picture)}`);
    if (!picture.querySelector(":scope > desc")?.textContent.trim()) fault(`picture without a description: ${path(picture)}`);
    if (/NaN|undefined|Infinity/.test(picture.outerHTML)) fault(`bad numbers in ${path(picture)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) fault(`id twice: ${id}`);
  for (const node of document.querySelectorAll("[aria-labelledby], [aria-controls]")) {
    for (const name of ["aria-labelledby", "aria-controls"]) {
      const target = node.getAttribute(name);
      if (target && !document.getElementById(target)) fault(`${name} names nothing: ${target}`);
    }
  }
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    if (!document.getElementById(link.getAttribute("href").slice(1))) fault(`link to nothing: ${link.getAttribute("href")}`);
  }
  for (const landmark of ["main", "header", "footer", "nav[aria-label]"]) {
    if (!document.querySelector(landmark)) fault(`no ${landmark}`);
  }
  if (!document.documentElement.lang || !document.title) fault("no language or no title");
  if (document.documentElement.scrollWidth > innerWidth) fault(`${document.documentElement.scrollWidth} px wide on a screen of ${innerWidth}`);
  return faults;
}
