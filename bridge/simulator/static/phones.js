/*
 * The page of the virtual phones: it draws what the simulator says, and asks for what the person does.
 *
 * All that a phone decides is decided in Python (bridge/simulator). Texts go in by textContent alone: an
 * alert's labels may hold anything.
 */

const all = document.getElementById("phones");
const template = document.getElementById("phone");
const phones = new Map();
let bridge = "";

const icon = (name) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
};

/** Make an element with a class and a text; anything else is appended. */
const make = (tag, name, text, ...parts) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text) made.textContent = text;
  made.append(...parts);
  return made;
};

const put = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const clock = (at, seconds = false) =>
  new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(seconds && { second: "2-digit" }) });

const ago = (at) => {
  const minutes = Math.floor((Date.now() - new Date(at)) / 60000);
  if (minutes < 1) return "now";
  return minutes < 60 ? `${minutes} min` : minutes < 1440 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} d`;
};

const FOCUS = {
  "do-not-disturb": "Do Not Disturb",
  "cut-off": "Flight mode",
  silent: "The app was killed: no push wakes it. Open it",
  unregistered: "The app was deleted: Apple refuses its pushes",
};

/* --- sound and vibration --- */

const sound = {
  button: document.getElementById("sound"),
  context: null,
  on: false,

  /** Browsers let a page sound only after a gesture: any on the page will do. */
  allow() {
    this.context ??= new AudioContext();
    this.context.resume();
    this.on = true;
    this.show();
  },
  toggle() {
    if (this.on) this.on = false;
    else this.allow();
    this.show();
  },
  show() {
    this.button.setAttribute("aria-pressed", String(this.on));
    this.button.querySelector("use").setAttribute("href", this.on ? "#speaker" : "#silent");
    put(this.button.querySelector("span"), this.on ? "Sound is on" : "Tap to allow sound");
  },
  note(pitch, from, length, loudness) {
    const { context } = this;
    const at = context.currentTime + from;
    const tone = context.createOscillator();
    const volume = context.createGain();
    tone.type = "triangle";
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0, at);
    volume.gain.linearRampToValueAtTime(loudness, at + 0.012);
    volume.gain.exponentialRampToValueAtTime(0.001, at + length);
    tone.connect(volume).connect(context.destination);
    tone.start(at);
    tone.stop(at + length);
  },
  /** Like sound, this needs a gesture first. */
  shake(pattern) {
    if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.(pattern);
  },
  /** Speak as the app does to whoever answers; an empty text ends it. */
  say(text) {
    window.speechSynthesis?.cancel();
    if (this.on && text) window.speechSynthesis?.speak(new SpeechSynthesisUtterance(text));
  },
  ring() {
    this.shake([350, 120, 350]);
    if (!this.on) return;
    [659, 784, 988, 784, 659, 784, 1175].forEach((pitch, place) => this.note(pitch, place * 0.15, 0.45, 0.16));
  },
  ping(level) {
    this.shake(level === "critical" ? [200, 80, 200, 80, 200] : 120);
    if (!this.on) return;
    const notes = level === "critical" ? [880, 1175, 880, 1175, 880, 1175] : [988, 1319];
    notes.forEach((pitch, place) => this.note(pitch, place * 0.13, 0.35, 0.14));
  },
};

let ringer = 0;
const ringOn = () => {
  const ringing = [...phones.values()].filter((phone) => phone.ringing);
  document.title = ringing.length ? `Ringing: ${ringing.map((phone) => phone.name).join(", ")}` : "Virtual phones";
  if (ringing.length && !ringer) {
    sound.ring();
    ringer = setInterval(() => sound.ring(), 2000);
  } else if (!ringing.length && ringer) {
    clearInterval(ringer);
    ringer = 0;
    sound.shake(0);
  }
};

/* --- what the person does --- */

const ask = async (method, path, body) => {
  const answer = await fetch(path, {
    method,
    ...(body && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
  }).catch(() => null);
  if (!answer) throw new Error("the simulator does not answer");
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error ?? `the simulator answers ${answer.status}`);
  return said;
};

/** Show for a while what went wrong. */
const trying = async (oops, act) => {
  oops.hidden = true;
  try {
    return await act();
  } catch (error) {
    oops.textContent = error.message;
    oops.hidden = false;
    clearTimeout(oops.timer);
    oops.timer = setTimeout(() => (oops.hidden = true), 8000);
    return null;
  }
};

class Phone {
  constructor(name) {
    this.name = name;
    this.root = template.content.firstElementChild.cloneNode(true);
    this.state = null;
    this.view = "lock";
    this.incident = "";
    this.overUntil = 0;
    this.number = Phone.count = (Phone.count ?? 0) + 1;
    this.label();
    this.listen();
  }

  $(selector) {
    return this.root.querySelector(selector);
  }

  /** Give what needs a name its name, and labels their fields. */
  label() {
    put(this.$(".phone-name"), this.name);
    this.$(".phone-name").id = `phone-${this.number}`;
    this.root.setAttribute("aria-labelledby", `phone-${this.number}`);
    this.$(".manners").setAttribute("aria-label", `How ${this.name} is`);
    for (const section of this.root.querySelectorAll("section")) {
      section.setAttribute("aria-label", `${section.getAttribute("aria-label")} of ${this.name}`);
    }
    for (const [place, label] of [...this.root.querySelectorAll("form label")].entries()) {
      const field = label.parentElement.querySelector("input");
      field.id = label.htmlFor = `phone-${this.number}-field-${place}`;
    }
  }

  listen() {
    this.root.addEventListener("click", (event) => {
      const pressed = event.target.closest("button");
      if (!pressed) return;
      const { do: what, act, manner } = pressed.dataset;
      if (what) this.do(what);
      else if (act) this.act(act);
      else if (manner) this.set({ behaviour: this.state.behaviour === manner ? "normal" : manner });
    });
    this.$(".enrol-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.enrol(new FormData(event.target));
    });
    this.$(".enrol-form [name=code]").addEventListener("input", (event) => {
      this.$(".where").hidden = event.target.value.trim().includes("://");
    });
    this.$(".note").addEventListener("submit", async (event) => {
      event.preventDefault();
      if (await this.act("notes", { text: new FormData(event.target).get("text") })) event.target.reset();
    });
    this.$(".through input").addEventListener("change", (event) => this.set({ time_sensitive: event.target.checked }));
  }

  ask(method, path, body) {
    return trying(this.$(".glass > .oops"), () => ask(method, `/phones/${encodeURIComponent(this.name)}${path}`, body));
  }

  set(wish) {
    return this.ask("PATCH", "", wish);
  }

  async do(what) {
    const call = this.state.call && { call: this.state.call.uuid };
    if (what === "answer") sound.say(this.state.call.spoken);
    if (what === "hang-up") sound.say("");
    if (what === "lock") this.show("lock");
    else if (what === "open") await this.open();
    else if (what === "hang-up") {
      await this.ask("POST", "/hang-up", call);
      if (this.state.enrolled) this.show("app");
    } else await this.ask("POST", `/${what}`, ["answer", "decline"].includes(what) ? call : {});
  }

  /** Open the app: it puts its tokens at each start, as phones must. */
  async open(incident = "") {
    this.incident = incident;
    if (!this.state.enrolled) this.show("enrol");
    else {
      this.show(incident ? "incident" : "app");
      await this.ask("POST", "/open", {});
    }
  }

  async enrol(form) {
    const code = form.get("code").trim();
    const wish = code.includes("://") ? { link: code } : { code, url: form.get("url").trim() || "http://127.0.0.1:9096" };
    if (await this.ask("POST", "/enrol", wish)) {
      this.$(".enrol-form").reset();
      this.show("app");
    }
  }

  act(verb, fields = verb === "silence" ? { seconds: 3600 } : {}) {
    return this.ask("POST", `/incidents/${encodeURIComponent(this.incident)}/${verb}`, fields);
  }

  /* --- what is seen --- */

  get ringing() {
    return this.state?.call?.state === "ringing";
  }

  update(state) {
    const before = this.state;
    this.state = state;
    if (this.view === "enrol" && state.enrolled) this.view = "app";
    if ((this.view === "app" || this.view === "incident") && !state.enrolled) this.view = "enrol";
    this.drawCall(before?.call, state.call);
    this.drawSurroundings(state);
    this.drawLock(state, before);
    this.drawApp(state);
    this.show(this.view);
  }

  show(view) {
    this.view = view;
    for (const section of this.root.querySelectorAll(".view")) section.hidden = section.dataset.view !== view;
    if (view === "incident") this.drawIncident();
    this.tick();
  }

  drawSurroundings(state) {
    const { enrolled, behaviour } = state;
    put(this.$(".phone-owner"), enrolled ? `${enrolled.owner}’s, enrolled as ${enrolled.device}` : "not enrolled: it rings, and hears nothing else");
    for (const button of this.root.querySelectorAll("[data-manner]")) {
      button.setAttribute("aria-pressed", String(button.dataset.manner === behaviour));
    }
    this.root.dataset.manner = behaviour;
    this.$(".sign-moon").toggleAttribute("hidden", behaviour !== "do-not-disturb");
    this.$(".sign-plane").toggleAttribute("hidden", behaviour !== "cut-off");
    this.$(".through").hidden = behaviour !== "do-not-disturb";
    this.$(".through input").checked = state.time_sensitive;
    this.$(".lines").replaceChildren(
      ...state.lines.map((line) => make("li", "", "", make("time", "", clock(line.at, true)), make("span", "", line.text))),
    );
  }

  drawLock(state, before) {
    const focus = FOCUS[state.behaviour] ?? "";
    put(this.$(".focus"), focus);
    this.$(".focus").hidden = !focus;
    this.$(".tidy").hidden = !state.cards.length;
    const open = state.incidents.filter((one) => one.state === "triggered").length;
    put(this.$(".count"), String(open));
    this.$(".count").hidden = !open;
    this.$(".app-icon").disabled = state.behaviour === "unregistered";
    this.$(".app-icon").setAttribute("aria-label", open ? `Open the app, ${open} unanswered` : "Open the app");
    const known = new Set(before?.cards.map((card) => card.id));
    for (const card of state.cards.filter((one) => before && !known.has(one.id) && one.sound)) {
      sound.ping(card.level);
      shout(`Notification on ${this.name}: ${card.title}. ${card.body}`);
    }
    this.$(".cards").replaceChildren(...state.cards.map((card) => this.card(card, before && !known.has(card.id))));
  }

  card(card, fresh) {
    const head = make("span", "card-head", "", make("span", "", card.label), make("time", "", ago(card.at)));
    head.lastChild.dateTime = card.at;
    const mark = make("span", "card-icon", "", icon(card.kind === "call" ? "handset" : "bell"));
    const texts = make("span", "card-texts", "", head, make("span", "card-title", card.title), make("span", "card-body", card.body));
    const opens = this.state.incidents.some((one) => one.id === card.incident);
    const made = make(opens ? "button" : "div", "note-card", "", mark, texts);
    if (opens) made.addEventListener("click", () => this.open(card.incident));
    made.dataset.level = card.level;
    if (fresh) made.classList.add("fresh");
    return make("li", "", "", made);
  }

  drawApp(state) {
    const ready = this.$(".ready");
    const fine = state.would_ring;
    ready.dataset.tone = fine ? "good" : fine === false ? "bad" : "quiet";
    put(ready.querySelector(".ready-word"), fine ? "Would ring tonight" : fine === false ? "Would not ring tonight" : "Not known to the bridge");
    ready.querySelector(".troubles").replaceChildren(...state.troubles.map((trouble) => make("li", "", trouble)));
    const facts = state.enrolled ? { "enrolled as": state.enrolled.device, owner: state.enrolled.owner, bridge: state.enrolled.url, "page key": state.kid ?? "none" } : {};
    this.$(".this-phone").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
    this.$(".nothing").hidden = state.incidents.length > 0;
    this.$(".incidents").replaceChildren(...state.incidents.map((one) => this.row(one)));
    if (bridge && !this.$(".enrol-form [name=url]").value) this.$(".enrol-form [name=url]").value = bridge;
    put(this.$(".say code"), "pushkit-bridge devices enroll OWNER");
  }

  row(one) {
    const top = make("span", "row-top", "", make("strong", "", one.title), make("time", "", ago(one.opened_at)));
    const button = make("button", "incident-row", "", top, make("span", "row-summary", one.summary), this.stateOf(one));
    if (one.drill) button.lastChild.after(make("span", "row-summary", "a drill: nothing is wrong"));
    button.type = "button";
    button.dataset.severity = one.severity;
    button.addEventListener("click", () => this.open(one.id));
    return make("li", "", "", button);
  }

  stateOf(one) {
    const [tone, text] = {
      triggered: ["bad", one.unanswered_at ? "nobody answered" : "unanswered"],
      acknowledged: ["warn", `${one.acknowledged_by ?? "somebody"} has it`],
      resolved: ["good", one.resolution ?? "resolved"],
    }[one.state] ?? ["quiet", one.state];
    const silenced = one.silenced_until && one.state !== "resolved";
    const badge = make("span", "badge", silenced ? `silent until ${clock(one.silenced_until)}` : text);
    badge.dataset.tone = silenced ? "quiet" : tone;
    return badge;
  }

  async drawIncident() {
    const one = this.state.incidents.find((incident) => incident.id === this.incident);
    if (!one) return this.show("app");
    put(this.$(".eyebrow"), `${one.severity} · ${one.receiver}`);
    put(this.$(".incident-title"), one.title);
    put(this.$(".incident-summary"), one.summary);
    this.$(".incident-state").replaceChildren(this.stateOf(one));
    const over = one.state === "resolved";
    for (const button of this.root.querySelectorAll("[data-act]")) button.disabled = over;
    this.$("[data-act=acknowledge]").hidden = one.state !== "triggered";
    this.$("[data-act=unacknowledge]").hidden = one.state !== "acknowledged";
    this.$(".labels").replaceChildren(...Object.entries(one.group).map(([name, value]) => make("li", "", `${name}="${value}"`)));
    const drawn = JSON.stringify(one);
    if (this.drawn === drawn) return null;
    this.drawn = drawn;
    const story = await this.ask("GET", `/incidents/${encodeURIComponent(one.id)}`);
    if (story?.id !== this.incident) return null;
    this.$(".story").replaceChildren(
      ...story.timeline.toReversed().map((line) => make("li", "", "", make("time", "", clock(line.at, true)), make("span", "", `${line.kind}: ${line.text}`))),
    );
    return null;
  }

  drawCall(before, call) {
    const same = before?.uuid === call?.uuid;
    if (call?.state === "ringing" && !(same && before.state === "ringing")) this.announce(call);
    const watched = same && ["ringing", "answered"].includes(before?.state);
    if (watched && ["declined", "ended"].includes(call.state) && call.why !== "hung up") {
      this.overUntil = Date.now() + 3500;
      setTimeout(() => this.tick(), 3600);
      shout(`${this.name}: ${call.why || call.state}`);
    }
    if (!call) return;
    put(this.$(".call-title"), call.title);
    put(this.$(".call-reason"), call.reason);
    this.$(".call-incidents").replaceChildren(...call.incidents.map((title) => make("li", "", title)));
    const speaking = call.state === "answered";
    this.$(".ringing-buttons").hidden = call.state !== "ringing";
    this.$(".speaking-buttons").hidden = !speaking;
    this.$(".call-spoken").hidden = !speaking;
    put(this.$(".call-spoken"), speaking ? call.spoken : "");
    put(this.$(".call-told"), speaking ? told(call) : "");
    this.$(".call").dataset.state = call.state;
  }

  announce(call) {
    shout(`Incoming call on ${this.name}: ${call.title}. ${call.reason}`);
    // Where the person is busy elsewhere, nothing is taken out of their hands.
    requestAnimationFrame(() => {
      if ([document.body, null, document.getElementById("desk")].includes(document.activeElement)) this.$(".answer").focus({ preventScroll: true });
    });
  }

  /** What changes with the time alone. */
  tick() {
    const now = new Date();
    put(this.$(".clock"), clock(now));
    put(this.$(".big-clock"), clock(now));
    put(this.$(".date"), now.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" }));
    const call = this.state?.call;
    const over = Date.now() < this.overUntil;
    const up = Boolean(call && (["ringing", "answered"].includes(call.state) || over));
    this.$(".call").hidden = !up;
    this.root.classList.toggle("in-call", up);
    this.root.classList.toggle("ringing", this.ringing);
    for (const section of this.root.querySelectorAll(".view")) section.inert = up;
    if (!up) return;
    const seconds = Math.max(0, Math.floor((now - new Date(call.changed_at)) / 1000));
    const spent = `${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}`;
    const kind = { ringing: call.drill ? "A drill: nothing is wrong" : "On-call audio…", answered: spent, declined: "Declined" }[call.state];
    put(this.$(".call-kind"), kind ?? `Call ended: ${call.why}`);
  }
}

const told = (call) => {
  if (!call.awaited) return "The bridge asked for no receipt.";
  const receipt = call.told.findLast((one) => one.receipt === "answered");
  if (!receipt) return "Telling the bridge…";
  return receipt.accepted ? "The bridge knows: you have it." : "The bridge could not be told.";
};

const shout = (text) => {
  document.getElementById("shout").textContent = text;
};

/* --- keys: Enter answers, Escape declines, unless they mean something else where the focus is --- */

document.addEventListener("keydown", (event) => {
  if (!["Enter", "Escape"].includes(event.key) || event.repeat || event.defaultPrevented) return;
  const at = event.target.closest?.(".phone");
  const ringing = [...phones.values()].filter((phone) => phone.ringing);
  const phone = ringing.find((one) => one.root === at) ?? ringing[0];
  if (!phone || event.target.closest?.("input")) return;
  if (event.key === "Enter" && event.target.closest?.("button, a, summary")) return;
  event.preventDefault();
  phone.do(event.key === "Enter" ? "answer" : "decline");
});

sound.button.addEventListener("click", () => sound.toggle());
for (const gesture of ["pointerup", "keydown"]) {
  document.addEventListener(gesture, (event) => event.target.closest?.("#sound") || sound.allow(), { once: true });
}

const alarm = document.getElementById("alarm");
alarm.addEventListener("click", async () => {
  alarm.disabled = true;
  const fired = await trying(document.querySelector(".page-oops"), () => ask("POST", "/alarm", {}));
  if (fired) put(alarm.querySelector("span"), `${fired.alert} fires`);
  setTimeout(() => {
    alarm.disabled = false;
    put(alarm.querySelector("span"), "Let an alert fire");
  }, 2500);
});

const newPhone = document.getElementById("new-phone");
newPhone.addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = new FormData(newPhone).get("name").trim();
  const made = await trying(newPhone.querySelector(".oops"), () => ask("PUT", `/phones/${encodeURIComponent(name)}`, {}));
  if (made) newPhone.reset();
});

/* --- the stream --- */

const live = (tone, text) => {
  document.getElementById("live").firstElementChild.dataset.tone = tone;
  put(document.getElementById("live-text"), text);
  all.classList.toggle("stale", tone !== "good");
};

const take = (news) => {
  bridge = news.bridge;
  alarm.hidden = !news.alarm;
  const link = document.getElementById("console");
  link.hidden = !news.console;
  link.href = news.console;
  for (const [name, phone] of phones) {
    if (news.phones.includes(name)) continue;
    phone.root.remove();
    phones.delete(name);
  }
  for (const state of news.changed) {
    if (!phones.has(state.name)) {
      phones.set(state.name, new Phone(state.name));
      all.append(phones.get(state.name).root);
    }
    phones.get(state.name).update(state);
  }
  ringOn();
};

const follow = () => {
  const stream = new EventSource("/screens");
  stream.onmessage = (event) => {
    live("good", "live");
    take(JSON.parse(event.data));
  };
  stream.onerror = () => {
    live("warn", "reconnecting");
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 1000);
  };
};

sound.show();
follow();
setInterval(() => phones.forEach((phone) => phone.tick()), 1000);
