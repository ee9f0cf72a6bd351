// Small comforts on every page: copy buttons, filters of lists, fresh relative times.
document.documentElement.classList.add("js");

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.querySelector(button.dataset.copy);
    const text = source.textContent.trim();
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      // Without https the clipboard is closed to scripts: select, so that one key copies.
      getSelection().selectAllChildren(source);
      say("Selected: press Ctrl+C");
    }
  });
}

for (const input of document.querySelectorAll("input[data-filter]")) {
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of document.querySelectorAll(input.dataset.filter)) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
}

document.addEventListener("click", (event) => {
  for (const pick of document.querySelectorAll("details.pick[open]")) {
    if (!pick.contains(event.target)) pick.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const pick of document.querySelectorAll("details.pick[open]")) {
    pick.open = false;
    pick.querySelector("summary").focus();
  }
});

let toast;
export function say(text) {
  toast ??= document.body.appendChild(Object.assign(document.createElement("div"), { className: "toast" }));
  toast.setAttribute("role", "status");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { toast.hidden = true; }, 2500);
}
