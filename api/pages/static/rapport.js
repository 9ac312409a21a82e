// Nothing needs this. While the slider of a relationship is moved, it says where it stands, and
// hands its moment to the field beside it, so that the address holds the time alone.
"use strict";

const slider = document.getElementById("moment");
if (slider) {
  const said = JSON.parse(slider.dataset.stops);
  const times = JSON.parse(slider.dataset.times);
  const knownAt = document.getElementById("known_at");
  const output = slider.form.querySelector("output");
  slider.form.elements.shown.remove();
  slider.removeAttribute("name");
  slider.addEventListener("input", () => {
    const number = Number(slider.value);
    output.value = said[number];
    slider.setAttribute("aria-valuetext", said[number]);
    // At the last moment everything is known: that is now.
    knownAt.value = number === said.length - 1 ? "" : times[number];
  });
  slider.form.addEventListener("submit", () => {
    for (const field of slider.form.querySelectorAll("input")) {
      field.disabled = field.value === "";
    }
  });
}
