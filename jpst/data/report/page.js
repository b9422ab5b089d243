"use strict";
// A slider over two pictures. Keys are the input's own; a pointer is followed here, so that a touch anywhere counts.
// Sliders in one element of the class `together` share their position.
for (const input of document.querySelectorAll(".frame input")) {
  const group = input.closest(".together");
  const show = () => {
    group.style.setProperty("--cut", input.value + "%");
    for (const each of group.querySelectorAll(".frame input")) {
      each.value = input.value;
      each.setAttribute("aria-valuetext", input.value + " % content");
    }
  };
  const follow = (event) => {
    if (!event.buttons) return;
    const box = input.getBoundingClientRect();
    input.value = (100 * (event.clientX - box.left)) / box.width;
    show();
  };
  input.addEventListener("input", show);
  input.addEventListener("pointerdown", follow);
  input.addEventListener("pointermove", follow);
}
