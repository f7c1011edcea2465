// Where a keyboard stays while what it stands on is drawn anew: on the control of the same name, else on a heading.
const CONTROLS = "button, select, input, summary, [tabindex='0']";

const nameOf = (element) => element.dataset.focus ?? element.dataset.code ?? (element.getAttribute("aria-label") || element.title || element.textContent);
export const seen = (element) => Boolean(element?.isConnected && element.getClientRects().length);

// Fill a holder. Where a keyboard is in it and its control goes, the one of the same name has the focus then, or what
// `instead` returns; a pointer needs none, and the map keeps its arrow keys.
export function keepingFocus(holder, fill, instead = () => holder.querySelector("h2")) {
  const focused = document.activeElement, within = holder.contains(focused) && focused.matches(":focus-visible"), name = within && nameOf(focused);
  fill();
  if (!within || (seen(focused) && document.activeElement === focused)) return;
  focus([...holder.querySelectorAll(CONTROLS)].find((one) => !one.disabled && seen(one) && nameOf(one) === name) ?? instead());
}

// Give an element the focus, one that takes none of itself too.
export function focus(element) {
  if (!element) return;
  if (element.tabIndex < 0 && !element.hasAttribute("tabindex")) element.tabIndex = -1;
  element.focus();
}
