// Ask, stream both answers, then let the person vote.
(() => {
  "use strict";
  const ask = document.querySelector("#ask"), vote = document.querySelector("#vote"), state = document.querySelector("#state");
  const csrf = ask.dataset.csrf;
  // Without this script the button does nothing, and stays disabled.
  ask.querySelector("button").disabled = false;
  const post = (path, fields) => fetch(path, { method: "POST", body: new URLSearchParams({ csrf, ...fields }) });
  const read = async (item, place) => {
    const target = document.querySelector(`#answer-${place}`);
    target.textContent = "";
    target.className = "answer-stream";
    const answer = await post(`/arena/${item}/${place}`, {});
    if (!answer.ok) return false;
    const reader = answer.body.getReader(), decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      // The server ends a broken answer with this line, and takes no vote on it.
      if (done) return !/\n\[the model did not answer: \w+\]$/.test(target.textContent);
      target.textContent += decoder.decode(value, { stream: true });
    }
  };
  // The server renders Markdown, and lets nothing through that could run.
  const show = async (item, place) => {
    const answer = await fetch(`/arena/${item}/${place}`), target = document.querySelector(`#answer-${place}`);
    if (!answer.ok) throw new Error();
    target.innerHTML = await answer.text();
    target.className = "text";
  };
  ask.addEventListener("submit", async (event) => {
    event.preventDefault();
    vote.hidden = true;
    ask.querySelector("button").disabled = true;
    state.textContent = "Both are answering";
    try {
      const answer = await post("/arena/ask", { prompt: ask.elements.prompt.value });
      if (!answer.ok) throw new Error();
      const { item } = await answer.json();
      const whole = await Promise.all([read(item, 0), read(item, 1)]);
      if (whole.includes(false)) throw new Error();
      await Promise.all([show(item, 0), show(item, 1)]);
      vote.action = `/arena/${item}`;
      vote.hidden = false;
      state.textContent = "Now choose";
      document.activeElement.blur();
    } catch { state.textContent = "That did not work. Ask again."; }
    ask.querySelector("button").disabled = false;
  });
  addEventListener("keydown", (event) => {
    if (vote.hidden || localStorage.getItem("keys-off") === "yes" || event.target.matches("textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const button = vote.querySelector(`button[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (button) button.click();
  });
})();
