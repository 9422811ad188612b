"use strict";
// Time of an answer, keys 1 to 9 for buttons, and one submission only. The page works without this file.
(() => {
  const shown = performance.now();
  const form = document.querySelector("form");
  if (!form) return;
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) {
      event.preventDefault();
      return;
    }
    sent = true;
    if (form.elements.rt) {
      form.elements.rt.value = String(Math.round(performance.now() - shown));
      form.elements.time.value = String(Date.now());
    }
  });
  // A page that the browser shows again from its memory may be stale.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (/^(TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const button = /^[1-9]$/.test(event.key) && form.querySelector(`button[data-key="${event.key}"]`);
    if (button) {
      event.preventDefault();
      button.click();
    } else if (/^[1-9]$/.test(event.key) && event.target.type === "radio") {
      const choice = form.querySelectorAll(`input[name="${event.target.name}"]`)[event.key - 1];
      if (choice) {
        choice.checked = true;
        choice.focus();
      }
    }
  });
})();
