"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const sounds = read("sounds");
  const player = document.getElementById("player");
  let playing = null;

  const stop = () => {
    if (playing) { playing.classList.remove("on"); playing.setAttribute("aria-pressed", "false"); }
    playing = null;
  };
  const toggle = (button) => {
    if (button === playing) { player.pause(); stop(); return; }
    stop();
    player.src = "data:audio/mpeg;base64," + sounds[button.dataset.sound];
    player.play().then(() => {
      playing = button; button.classList.add("on"); button.setAttribute("aria-pressed", "true");
    }).catch(() => stop());
  };
  player.addEventListener("ended", stop);
  player.addEventListener("timeupdate", () => {
    if (playing && player.duration) playing.style.setProperty("--done", player.currentTime / player.duration + "turn");
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".play");
    if (button) toggle(button);
  });

  const links = [...document.querySelectorAll("nav a")];
  const sections = new Map(links.map((link) => [document.querySelector(link.hash), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) sections.get(entry.target).classList.toggle("here", entry.isIntersecting);
  }, { rootMargin: "-30% 0px -65% 0px" });
  for (const section of sections.keys()) seen.observe(section);

  const map = document.getElementById("map");
  if (!map) return;
  const { pairs, colourings } = read("map-data");
  const marks = [...map.querySelectorAll("[data-i]")];
  const of = pairs.map(() => ({}));
  for (const mark of marks) of[mark.dataset.i][mark.tagName] = mark;
  const [keys, select, link, told] = ["keys", "colour", "link", "told"].map((id) => document.getElementById(id));
  const replay = document.getElementById("map-play");
  let current = -1, chosen = -1;

  const dim = () => {
    const own = colourings[select.value].of;
    for (const mark of marks) mark.classList.toggle("dim", chosen >= 0 && own[mark.dataset.i] !== chosen);
    [...keys.querySelectorAll("button")].forEach((key, place) => key.setAttribute("aria-pressed", place === chosen));
  };
  const colour = () => {
    const { labels, classes, of: own } = colourings[select.value];
    for (const mark of marks) mark.setAttribute("class", classes[own[mark.dataset.i]]);
    keys.replaceChildren(...labels.map((label, place) => {
      const item = document.createElement("li"), key = document.createElement("button");
      key.type = "button"; key.textContent = label; key.className = classes[place];
      key.addEventListener("click", () => { chosen = chosen === place ? -1 : place; dim(); });
      item.append(key);
      return item;
    }));
    chosen = -1; dim(); show(current);
  };
  const place = (mark) => mark.tagName === "circle"
    ? [mark.getAttribute("cx"), mark.getAttribute("cy")] : [mark.dataset.x, mark.dataset.y];
  const show = (i) => {
    for (const mark of map.querySelectorAll(".on")) mark.classList.remove("on");
    current = i;
    if (i < 0) return;
    const { circle, path } = of[i], pair = pairs[i];
    [link.x1, link.y1, link.x2, link.y2].forEach((value, n) =>
      (value.baseVal.value = [...place(circle), ...place(path)][n]));
    link.style.visibility = "visible";
    circle.classList.add("on"); path.classList.add("on");
    told.replaceChildren(...[["quote", pair.caption], ["", pair.values.join(" · ")],
      ["sub", pair.corpus + " · " + pair.id + (pair.sound === null ? " · its sound is not in this page" : "")],
    ].map(([name, text]) => Object.assign(document.createElement("p"), { className: name, textContent: text })));
    replay.hidden = pair.sound === null;
    if (pair.sound !== null && playing !== replay) replay.dataset.sound = pair.sound;
  };
  const hear = () => {
    if (current < 0 || pairs[current].sound === null) return;
    if (playing === replay) { player.pause(); stop(); }
    replay.dataset.sound = pairs[current].sound;
    toggle(replay);
  };
  select.addEventListener("change", colour);
  map.addEventListener("pointerover", (event) => {
    if (event.target.dataset.i !== undefined) show(Number(event.target.dataset.i));
  });
  map.addEventListener("click", (event) => {
    if (event.target.dataset.i !== undefined) { show(Number(event.target.dataset.i)); hear(); }
  });
  map.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) { show((current + step + pairs.length) % pairs.length); event.preventDefault(); }
    if (event.key === "Enter" || event.key === " ") { hear(); event.preventDefault(); }
  });
  colour();
})();
