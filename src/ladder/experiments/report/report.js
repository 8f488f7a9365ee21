"use strict";
// Without this script the page shows everything one below the other. With it: one outcome at a time,
// tables that sort and filter, pictures side by side.

function choose(outcome) {
  for (const part of document.querySelectorAll("[data-outcome]")) {
    part.hidden = part.dataset.outcome !== outcome;
  }
}

function valueOf(cell) {
  const text = cell.textContent.trim();
  if (text === "") return null;
  const number = parseFloat(text.replace(/,/g, "").replace(/^< ?/, ""));
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b));
}

function sort(table, column, head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);  // empty cells come last
    return descending ? compare(b, a) : compare(a, b);
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function makeInteractive(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.onclick = () => sort(table, column, head);
    head.replaceChildren(button);
  });
  if (table.tBodies[0].rows.length < 6) return;
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "rows that contain ...";
  filter.setAttribute("aria-label", "Filter rows");
  filter.oninput = () => {
    const wanted = filter.value.toLowerCase();
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  };
  table.parentNode.before(filter);
}

function option(select, value, text) {
  select.add(new Option(text, value));
}

function gallery(place) {
  const strips = [...document.querySelectorAll(".strips img")].map((image) => ({
    image, arm: image.dataset.arm, seed: image.dataset.seed,
    prompts: JSON.parse(image.dataset.prompts), marks: JSON.parse(image.dataset.marks),
  }));
  if (!strips.length) return;
  const [prompt, seed] = ["prompt", "seed"].map((name) => place.querySelector(`#${name}`));
  const arms = place.querySelector("#arms"), cards = place.querySelector(".cards");
  strips[0].prompts.forEach((text, index) => option(prompt, index, text));
  for (const value of new Set(strips.map((strip) => strip.seed))) option(seed, value, value);
  for (const arm of new Set(strips.map((strip) => strip.arm))) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.value = arm;
    box.checked = place.dataset.beside.split(" ").includes(arm);
    label.append(box, ` ${arm}`);
    arms.append(label);
  }
  const show = () => {
    const wanted = [...arms.querySelectorAll(":checked")].map((box) => box.value);
    cards.replaceChildren(...strips
      .filter((strip) => wanted.includes(strip.arm) && strip.seed === seed.value)
      .map((strip) => card(strip, Number(prompt.value))));
  };
  place.addEventListener("change", show);
  place.hidden = false;
  show();
}

function card(strip, index) {
  const mark = strip.marks[index], count = strip.prompts.length;
  const whole = document.createElement("div"), picture = document.createElement("div");
  whole.className = ["right", "wrong"].includes(mark) ? `card ${mark}` : "card";
  picture.className = "picture";
  picture.style.backgroundImage = `url(${strip.image.src})`;
  picture.style.backgroundSize = `${100 * count}% 100%`;
  picture.style.backgroundPosition = `${100 * index / Math.max(count - 1, 1)}% 0`;
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `${strip.prompts[index]}, drawn by ${strip.arm}`);
  const name = document.createElement("p"), said = document.createElement("p");
  name.textContent = strip.arm;
  said.textContent = { right: "\u2713 right", wrong: "\u2717 wrong" }[mark] ?? mark;
  whole.append(picture, name, said);
  return whole;
}

document.querySelectorAll("table").forEach(makeInteractive);
document.querySelectorAll("details.strips").forEach((one) => { one.open = false; });
gallery(document.querySelector("#gallery"));
const outcome = document.querySelector("#outcome");
outcome.closest("p").hidden = false;
outcome.onchange = () => choose(outcome.value);
choose(outcome.value);
