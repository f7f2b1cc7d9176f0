// Keys, drag, drafts and time on the item. Everything here also works without it, by the form's own fields.
(() => {
  "use strict";
  const form = document.querySelector("form.work");
  document.querySelectorAll("button[data-copy]").forEach((button) =>
    button.addEventListener("click", () => navigator.clipboard.writeText(button.dataset.copy)));
  if (!form) return;
  const status = document.querySelector("#draft-status");
  const questions = [...form.querySelectorAll("fieldset[data-task]")];
  const places = Number(form.dataset.places);
  let question = 0, card = 0, cell = 0;

  // Time that a person spends on the item: nothing counts after 30 s without a sign of life or on a hidden page.
  const active = form.elements.active_ms;
  let total = Number(active.value) || 0, last = performance.now(), sign = last;
  const tick = () => {
    const now = performance.now();
    if (!document.hidden && now - sign < 30000) total += now - last;
    last = now;
    active.value = String(Math.round(total));
  };
  ["keydown", "pointermove", "pointerdown", "scroll", "input"].forEach((name) =>
    addEventListener(name, () => { tick(); sign = performance.now(); }, { passive: true }));
  setInterval(tick, 1000);

  // Drafts. What the server does not have yet stays in this tab, so that a lost connection costs nothing.
  let timer = 0;
  const mine = `draft-${form.elements.token.value}`;
  const stash = () => { tick(); sessionStorage.setItem(mine, new URLSearchParams(new FormData(form)).toString()); };
  const later = (wait) => { clearTimeout(timer); timer = setTimeout(keep, wait); };
  const keep = async () => {
    stash();
    const sent = sessionStorage.getItem(mine), data = new URLSearchParams(sent);
    data.set("action", "draft");
    try {
      const answer = await fetch(form.dataset.draft, { method: "POST", body: data });
      status.textContent = answer.ok ? "Draft saved" : answer.status === 409
        ? "Draft not saved: this item is no longer yours" : "Draft not saved: the server cannot take it now";
      if (answer.ok && sessionStorage.getItem(mine) === sent) sessionStorage.removeItem(mine);
      if (answer.status >= 500) later(5000);
    } catch {
      status.textContent = "No connection: kept in this tab, and sent when it is back";
      later(5000);
    }
  };
  addEventListener("online", () => later(0));
  form.addEventListener("input", () => { stash(); later(700); draw(); });
  form.addEventListener("submit", (event) => {
    stash();
    if (navigator.onLine) { clearTimeout(timer); return; }
    event.preventDefault();
    status.textContent = "No connection: not saved yet. Nothing is lost; save again when you are back";
  });
  Object.keys(sessionStorage).filter((key) => key.startsWith("draft-") && key !== mine)
    .forEach((key) => sessionStorage.removeItem(key));
  const left = new URLSearchParams(sessionStorage.getItem(mine) || "");
  if (left.size) {
    for (const input of form.querySelectorAll("input[type=radio], input[type=checkbox]"))
      input.checked = left.getAll(input.name).includes(input.value);
    for (const text of form.querySelectorAll("textarea")) {
      text.value = left.get(text.name) || "";
      if (text.value) text.closest("details").open = true;
    }
    total = Math.max(total, Number(left.get("active_ms")) || 0);
    later(0);
  }

  // The board: the ranks as rows into which answers are dragged.
  const boards = questions.filter((q) => q.dataset.task === "ranking").map((fieldset) => {
    const board = document.createElement("ol");
    board.className = "board";
    board.setAttribute("aria-hidden", "true");
    for (let rank = 1; rank <= places; rank += 1) {
      const row = document.createElement("li");
      row.dataset.rank = String(rank);
      row.addEventListener("dragover", (event) => { event.preventDefault(); row.classList.add("over"); });
      row.addEventListener("dragleave", () => row.classList.remove("over"));
      row.addEventListener("drop", (event) => {
        event.preventDefault();
        row.classList.remove("over");
        pick(fieldset, event.dataTransfer.getData("text/plain"), String(rank));
      });
      board.append(row);
    }
    const rest = document.createElement("li");
    rest.className = "rest";
    board.append(rest);
    fieldset.append(board);
    return { fieldset, board, rest };
  });
  const chip = (place) => {
    const one = document.createElement("span");
    one.className = "chip";
    one.draggable = true;
    one.textContent = "ABCDEFGHI"[place];
    one.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", String(place)));
    return one;
  };
  const pick = (fieldset, place, value) => {
    const radio = [...fieldset.querySelectorAll("input[type=radio]")]
      .find((input) => input.dataset.place === place && input.value === value);
    if (radio) choose(radio);
  };
  const choose = (input) => {
    input.checked = true;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const draw = () => {
    for (const { fieldset, board, rest } of boards) {
      board.querySelectorAll(".chip").forEach((one) => one.remove());
      for (let place = 0; place < places; place += 1) {
        const chosen = fieldset.querySelector(`input[data-place="${place}"]:checked`);
        const row = chosen ? board.querySelector(`li[data-rank="${chosen.value}"]`) : rest;
        row.append(chip(place));
      }
    }
    document.querySelectorAll("[data-card]").forEach((one) =>
      one.classList.toggle("current", usesCards() && Number(one.dataset.card) === card));
    questions.forEach((one, index) => one.classList.toggle("current", questions.length > 1 && index === question));
  };
  const usesCards = () => questions.length > 0 && !["pair", "best"].includes(questions[question].dataset.task);

  const cellsOf = (fieldset, place) => {
    const names = [];
    fieldset.querySelectorAll(`input[data-place="${place}"]`).forEach((input) => {
      if (!names.includes(input.name)) names.push(input.name);
    });
    return names;
  };
  const done = (fieldset) => {
    const names = new Set([...fieldset.querySelectorAll("input[type=radio]")].map((input) => input.name));
    return [...names].every((name) => fieldset.querySelector(`input[name="${name}"]:checked`));
  };
  const onward = () => {
    if (done(questions[question]) && question + 1 < questions.length) { question += 1; card = 0; cell = 0; }
  };
  const digit = (fieldset, value) => {
    const task = fieldset.dataset.task;
    if (task === "pair") {
      const strength = fieldset.querySelector(`input[data-strength="${value}"]`);
      if (strength) choose(strength);
      return onward();
    }
    if (task === "best") return undefined;
    const names = cellsOf(fieldset, card);
    const radio = [...fieldset.querySelectorAll(`input[data-place="${card}"]`)]
      .find((input) => input.name === names[cell] && input.dataset.digit === value);
    if (!radio) return undefined;
    choose(radio);
    cell += 1;
    if (cell >= names.length) { cell = 0; card = (card + 1) % places; }
    onward();
    return draw();
  };
  const press = (id) => { const button = document.getElementById(id); if (button) button.click(); };
  const open = (id) => {
    const part = document.getElementById(id);
    if (!part) return;
    part.open = true;
    part.querySelector("select, input, textarea").focus();
  };

  // Single keys get in the way of dictation and of some screen readers: they can be switched off, on this device.
  const quiet = document.querySelector("#keys-off");
  quiet.checked = localStorage.getItem("keys-off") === "yes";
  quiet.addEventListener("input", (event) => {
    event.stopPropagation();
    localStorage.setItem("keys-off", quiet.checked ? "yes" : "no");
  });

  addEventListener("keydown", (event) => {
    const typing = event.target.matches("textarea, select, input[type=text]");
    if (event.key === "Escape") { event.target.blur(); return; }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); press("save"); return; }
    if (typing || quiet.checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter") {
      if (event.target.matches("button, a, summary")) return;
      event.preventDefault();
      press("save");
      return;
    }
    const key = event.key.toLowerCase();
    const fieldset = questions[question];
    if (/^[0-9]$/.test(key) && fieldset) { event.preventDefault(); digit(fieldset, key); return; }
    const chosen = fieldset && fieldset.querySelector(`input[data-key="${CSS.escape(key)}"]`);
    if (chosen) { event.preventDefault(); choose(chosen); onward(); draw(); return; }
    const place = "abcdefghi".indexOf(key);
    if (usesCards() && key.length === 1 && place >= 0 && place < places) { card = place; cell = 0; draw(); return; }
    if (key === "q") { question = (question + 1) % questions.length; card = 0; cell = 0; draw(); return; }
    if (key === "w") { event.preventDefault(); open("why"); return; }
    if (key === "s") { event.preventDefault(); open("skip"); return; }
    if (key === form.dataset.flagKey) { event.preventDefault(); open("flags"); return; }
    if (key === "u") press("undo");
    else if (key === form.dataset.diffKey) press("view-diff");
    else if (key === "r") press("view-raw");
    else if (key === form.dataset.guideKey) press("guide");
    else if (key === "?") { const help = document.getElementById("help"); help.open = !help.open; }
  });
  draw();
})();
