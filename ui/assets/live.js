// A part of the page that follows work on the server: whenever the work has moved on, the page is
// asked for anew and that part of it is put in place. Once the work is over, the page comes whole.
const RETRY_MS = 2000;
const PAUSE_MS = 400;

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

async function follow(part) {
  for (;;) {
    try {
      // The answer comes as soon as there is something newer, or after some seconds without.
      await fetch(`${part.dataset.live}?seen=${part.dataset.version}`);
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(part.id);
      if (!fresh?.hasAttribute("data-live")) return location.reload();
      part.dataset.version = fresh.dataset.version;
      part.replaceChildren(...fresh.childNodes);
      await pause(PAUSE_MS);
    } catch {
      // The server restarts or the network is gone: the page goes on as soon as it is back.
      await pause(RETRY_MS);
    }
  }
}

for (const part of document.querySelectorAll("[data-live]")) follow(part);
