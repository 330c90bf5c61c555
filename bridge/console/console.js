// What the server cannot do: times that go on by themselves, in the reader's own zone, and whether we are live.
(() => {
  "use strict";

  const rough = (seconds) => {
    for (const [size, unit, least] of [[86400, " days", 2], [3600, " h", 1], [60, " min", 1]]) {
      if (seconds >= size * least) return Math.floor(seconds / size) + unit;
    }
    return Math.max(Math.floor(seconds), 0) + " s";
  };

  const far = (at) => {
    const seconds = (at - Date.now() + skew) / 1000;
    return seconds > 0 ? `in ${rough(seconds)}` : `${rough(-seconds)} ago`;
  };

  const clock = (at) => {
    const today = new Date().toDateString() === at.toDateString();
    const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
    const day = today ? {} : { year: "numeric", month: "short", day: "numeric" };
    return at.toLocaleString(undefined, { ...day, ...time });
  };

  // How far this machine's clock is ahead of the bridge's: a countdown goes by the bridge's.
  const said = document.querySelector("meta[name=now]");
  const skew = said ? Date.now() - performance.now() - new Date(said.content) : 0;

  const tell = () => {
    for (const time of document.querySelectorAll("time[data-show]")) {
      const at = new Date(time.dateTime);
      const text = time.dataset.show === "far" ? far(at) : clock(at);
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const live = (tone, word) => {
    for (const place of document.querySelectorAll("[data-live]")) {
      if (place.lastElementChild.textContent === word) continue;
      place.firstElementChild.dataset.tone = tone;
      place.lastElementChild.textContent = word;
    }
  };

  document.addEventListener("htmx:sseOpen", () => live("good", "live"));
  document.addEventListener("htmx:sseError", () => live("warn", "reconnecting"));
  document.addEventListener("htmx:afterSwap", tell);
  setInterval(tell, 1000);
  tell();
})();
