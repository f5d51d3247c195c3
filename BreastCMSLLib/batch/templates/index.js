// Sorts the table by the column whose name was clicked: numbers as numbers, empty cells last, ties as before.
"use strict";
const body = document.querySelector("table.index tbody");
const heads = [...document.querySelectorAll("table.index th")];
heads.forEach((head, column) => {
  head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = [...body.rows].map((row) => [row.cells[column].dataset.sort || "", row]);
    const compare = (a, b) => a.localeCompare(b, undefined, { numeric: true });
    const numeric = keyed.every(([key]) => key === "" || !isNaN(key));
    keyed.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return (numeric ? a - b : compare(a, b)) * (down ? -1 : 1);
    });
    body.append(...keyed.map(([, row]) => row));
  });
});
