// The keys of an open menu, as in a native one; what Enter, Space and Escape do is the browser's and Quasar's business.
(() => {
  const FORGET_MS = 600;
  let typed = "";
  let forgetting;
  let opensAtEnd = false;

  const optionsOf = (menu) => [...menu.querySelectorAll("[role^=menuitem]")];
  const startsWith = (option, text) => option.textContent.trim().toLocaleLowerCase().startsWith(text);

  // The next option that begins with what has been typed; one letter again and again goes through all that do.
  const found = (options, at, letter) => {
    clearTimeout(forgetting);
    forgetting = setTimeout(() => (typed = ""), FORGET_MS);
    typed += letter.toLocaleLowerCase();
    const isRepeated = [...typed].every((one) => one === typed[0]);
    const text = isRepeated ? typed[0] : typed;
    const from = typed.length === 1 || isRepeated ? at + 1 : Math.max(at, 0);
    return [...options.slice(from), ...options.slice(0, from)].find((option) => startsWith(option, text));
  };

  const goal = (event, options) => {
    const at = options.indexOf(document.activeElement);
    const last = options.length - 1;
    if (event.key === "ArrowDown") return options[at >= last ? 0 : at + 1];
    if (event.key === "ArrowUp") return options[at <= 0 ? last : at - 1];
    if (event.key === "Home" || event.key === "PageUp") return options[0];
    if (event.key === "End" || event.key === "PageDown") return options[last];
    const isWithin = typed && options.some((option) => startsWith(option, `${typed} `)); // else Space chooses
    const isText = [...event.key].length === 1 && (event.key !== " " || isWithin);
    return isText && !event.ctrlKey && !event.metaKey && !event.altKey ? found(options, at, event.key) ?? null : undefined;
  };

  document.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const menu = event.target.closest?.(".q-menu[role=menu]");
    if (!menu) {
      const opens = ["ArrowDown", "ArrowUp"].includes(event.key) && event.target.matches?.("[aria-haspopup=menu]");
      if (!opens) return;
      event.preventDefault();
      opensAtEnd = event.key === "ArrowUp";
      return void event.target.click();
    }
    if (event.key === "Tab") {
      event.preventDefault(); // the focus returns to the button of the menu, and goes on from there
      return void getElement(Number(menu.id.slice(1)))?.hide(event);
    }
    const to = goal(event, optionsOf(menu));
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    to?.focus();
  }, { capture: true });

  // Of several choices one can be reached by Tab, and the arrow keys choose another.
  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  document.addEventListener("keydown", (event) => {
    const choices = [...(event.target.closest?.("[role=radio]")?.parentElement.querySelectorAll("[role=radio]") ?? [])];
    const step = STEPS[event.key];
    if (!choices.length || !step) return;
    event.preventDefault();
    const to = choices[(choices.indexOf(event.target) + step + choices.length) % choices.length];
    to.focus();
    to.click();
  });

  document.addEventListener("focusin", (event) => {
    if (!opensAtEnd || !event.target.matches?.("[role^=menuitem]")) return;
    opensAtEnd = false;
    optionsOf(event.target.closest(".q-menu")).pop()?.focus();
  });
  // The option under the pointer is the one from which the keys go on.
  document.addEventListener("pointermove", (event) => {
    const option = event.target.closest?.(".q-menu [role^=menuitem]");
    if (option && document.activeElement !== option) option.focus();
  }, { passive: true });
})();
