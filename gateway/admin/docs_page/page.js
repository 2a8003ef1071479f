"use strict";
const search = document.querySelector("input");
const outermost = (part) => !part.parentElement.closest("details");
const chapters = [...document.querySelectorAll("section")].map((section) => ({
  section,
  heading: section.querySelector("h2"),
  parts: [...section.querySelectorAll("details, tbody tr")].filter(outermost),
}));

// Shows what has all the words: a chapter by its heading, or those of its fields and requests.
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (element) => words.every((word) => element.textContent.toLowerCase().includes(word));
  for (const { section, heading, parts } of chapters) {
    const whole = fits(heading);
    for (const part of parts) part.hidden = !whole && !fits(part);
    section.hidden = !whole && parts.every((part) => part.hidden);
  }
}

function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.matches("details")) target.open = true;
}

search.addEventListener("input", filter);
addEventListener("hashchange", open);
addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
});
open();
