"use strict";
const search = document.querySelector("input");
const chapters = [...document.querySelectorAll("section")];

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (element) => words.every((word) => element.textContent.toLowerCase().includes(word));
  for (const chapter of chapters) {
    const parts = [...chapter.querySelectorAll("details, tbody tr")].filter((part) => !part.parentElement.closest("details"));
    const heading = fits(chapter.querySelector("h2"));
    for (const part of parts) part.hidden = !heading && !fits(part);
    chapter.hidden = !heading && parts.every((part) => part.hidden) && !fits(chapter);
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
