// Typesets every formula of a page; a fault stays on the page as red text.
for (const element of document.querySelectorAll(".formula")) {
  katex.render(element.textContent.trim(), element, {
    displayMode: element.classList.contains("display"),
    throwOnError: false,
  });
}
