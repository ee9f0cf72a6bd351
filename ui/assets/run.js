// The run page lives: states follow the run, lines follow the log, and the log can be searched.
const head = document.getElementById("run");
const job = document.getElementById("job");

const LINES_KEPT = 20000;

// ---- States of the run and its jobs --------------------------------------------------------

if (head && !head.hasAttribute("data-finished")) {
  const events = new EventSource(head.dataset.events);
  events.addEventListener("run", (event) => show(JSON.parse(event.data)));
  events.addEventListener("end", () => { events.close(); settle(); });
}

function paint(element, state, word) {
  element.className = `${element.classList.contains("mark") ? "mark" : "state"} ${state.tone}`;
  if (word) element.textContent = state.word;
  else { element.title = state.word; element.querySelector(".sr").textContent = state.word; }
}

function show(run) {
  paint(document.getElementById("run-state"), run.view.state, true);
  for (const one of run.view.jobs) {
    const node = document.querySelector(`.graph [data-job="${one.id}"]`);
    if (!node) continue;
    paint(node.querySelector(".mark"), one.state, false);
    node.querySelector(".num").textContent = one.took;
    if (job?.dataset.job !== String(one.id)) continue;
    paint(document.getElementById("job-state"), one.state, true);
    for (const step of one.steps) {
      const details = step_of(step.index, step.name);
      paint(details.querySelector(".mark"), step.state, false);
      details.querySelector("summary .num").textContent = step.took;
      if (step.state.tone === "bad") details.open = true;
    }
  }
}

// The receipt and the final buttons come with the page; load it again once, where the reader is.
function settle() {
  const open = [...document.querySelectorAll("details[data-step][open]")].map((d) => d.dataset.step);
  try { sessionStorage.setItem("open-steps", JSON.stringify({ at: location.pathname, open })); } catch { /* private mode */ }
  location.reload();
}

try {
  const kept = JSON.parse(sessionStorage.getItem("open-steps") ?? "null");
  sessionStorage.removeItem("open-steps");
  if (kept?.at === location.pathname) {
    for (const step of kept.open) document.querySelector(`details[data-step="${step}"]`)?.setAttribute("open", "");
  }
} catch { /* private mode */ }

// ---- Log -----------------------------------------------------------------------------------

function step_of(index, name) {
  const found = job.querySelector(`details[data-step="${index}"]`);
  if (found) return found;
  const details = document.createElement("details");
  details.dataset.step = index;
  const summary = details.appendChild(document.createElement("summary"));
  const mark = summary.appendChild(Object.assign(document.createElement("span"), { className: "mark run" }));
  mark.appendChild(Object.assign(document.createElement("span"), { className: "sr" }));
  summary.appendChild(Object.assign(document.createElement("span"), { className: "name", textContent: name ?? `Step ${index}` }));
  summary.appendChild(Object.assign(document.createElement("span"), { className: "right small dim num" }));
  const log = details.appendChild(Object.assign(document.createElement("div"), { className: "log", tabIndex: 0 }));
  log.setAttribute("role", "log");
  log.setAttribute("aria-live", "off");
  const lines = log.appendChild(Object.assign(document.createElement("div"), { className: "lines" }));
  lines.dataset.lines = index;
  const after = [...job.querySelectorAll("details[data-step]")].find((d) => Number(d.dataset.step) > Number(index));
  if (after) after.before(details); else job.appendChild(details);
  return details;
}

const groups = new Map();
const numbers = new Map();

function line_node(line) {
  const node = document.createElement("div");
  node.className = `l k-${line.kind}`;
  node.id = `o${line.at}`;
  const number = (numbers.get(line.step) ?? last_number(line.step)) + 1;
  numbers.set(line.step, number);
  const anchor = node.appendChild(document.createElement("a"));
  anchor.className = "n";
  anchor.href = `#o${line.at}`;
  anchor.dataset.n = Number.isNaN(number) ? "·" : number;
  anchor.setAttribute("aria-label", `Line ${number}`);
  node.appendChild(Object.assign(document.createElement("span"), { className: "t", textContent: new Date(line.ms).toISOString().slice(11, 23) }));
  for (const [name, text] of line.spans) {
    if (name) node.appendChild(Object.assign(document.createElement("span"), { className: name, textContent: text }));
    else node.appendChild(document.createTextNode(text));
  }
  return node;
}

function last_number(step) {
  const all = job.querySelectorAll(`[data-lines="${step}"] a.n`);
  return all.length ? Number(all[all.length - 1].dataset.n) : 0;
}

function append(line) {
  const details = step_of(line.step);
  const lines = details.querySelector("[data-lines]");
  if (line.kind === "endgroup") { groups.delete(line.step); return; }
  const node = line_node(line);
  if (line.kind === "group") {
    const group = document.createElement("details");
    group.className = "g";
    group.open = true;
    const summary = group.appendChild(document.createElement("summary"));
    node.querySelector(".t").after(Object.assign(document.createElement("span"), { className: "tw" }));
    summary.appendChild(node);
    lines.appendChild(group);
    groups.set(line.step, group);
  } else {
    (groups.get(line.step) ?? lines).appendChild(node);
  }
  if (wanted) test(node);
}

function trim() {
  const all = job.querySelectorAll(".log .l");
  for (let i = 0; i < all.length - LINES_KEPT; i += 1) all[i].remove();
}

const note = document.getElementById("log-note");
const follow = document.getElementById("follow");
let following = true;

if (job?.dataset.stream) {
  follow.hidden = false;
  follow.addEventListener("click", () => { set_follow(!following); if (following) tail(); });
  const stream = new EventSource(job.dataset.stream);
  let waiting = [];
  stream.addEventListener("lines", (event) => {
    const batch = JSON.parse(event.data);
    if (!waiting.length) requestAnimationFrame(flush);
    waiting.push(...batch.lines);
  });
  stream.addEventListener("end", () => { stream.close(); flush(); follow.hidden = true; note.textContent = "the log is complete"; });
  stream.onerror = () => { note.textContent = "connection lost; trying again"; };
  stream.onopen = () => { note.textContent = "live"; };
  const flush = () => {
    if (!waiting.length) return;
    const last = waiting[waiting.length - 1].step;
    for (const line of waiting) append(line);
    waiting = [];
    trim();
    if (following) {
      for (const details of job.querySelectorAll("details[data-step]")) {
        if (details.dataset.auto) details.open = false;
        delete details.dataset.auto;
      }
      const now = step_of(last);
      if (!now.open) { now.open = true; now.dataset.auto = "1"; }
      tail();
    }
  };
  // Reading something earlier is a wish not to be pulled away.
  addEventListener("wheel", (event) => { if (event.deltaY < 0) set_follow(false); }, { passive: true });
  addEventListener("touchmove", () => set_follow(false), { passive: true });
  addEventListener("keydown", (event) => { if (["ArrowUp", "PageUp", "Home"].includes(event.key)) set_follow(false); });
}

function set_follow(on) {
  following = on;
  follow.setAttribute("aria-pressed", String(on));
}

function tail() {
  const all = job.querySelectorAll("details[open] > .log .l");
  all[all.length - 1]?.scrollIntoView({ block: "nearest" });
}

// ---- Timestamps, search, links to a line ---------------------------------------------------

const times = document.getElementById("times");
times?.addEventListener("click", () => {
  const on = times.getAttribute("aria-pressed") !== "true";
  times.setAttribute("aria-pressed", String(on));
  for (const log of document.querySelectorAll(".log")) log.classList.toggle("times", on);
});

const find = document.getElementById("find");
let wanted = "";
let timer;
find?.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 120); });

function test(node) {
  const hit = node.textContent.toLowerCase().includes(wanted);
  node.classList.toggle("hit", hit);
  return hit;
}

function search() {
  wanted = find.value.toLowerCase();
  let hits = 0;
  for (const details of job.querySelectorAll("details[data-step]")) {
    let here = 0;
    for (const node of details.querySelectorAll(".log .l")) if (wanted && test(node)) here += 1;
    details.querySelector(".log").classList.toggle("filtered", Boolean(wanted));
    if (here) { details.open = true; for (const g of details.querySelectorAll("details.g")) g.open = true; }
    hits += here;
  }
  note.textContent = wanted ? `${hits} lines match` : "";
}

function reveal() {
  if (!/^#o\d+$/.test(location.hash)) return;
  const node = document.getElementById(location.hash.slice(1));
  for (let up = node?.parentElement; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
  if (node) { if (follow) set_follow(false); node.scrollIntoView({ block: "center" }); }
}
addEventListener("hashchange", reveal);
reveal();
