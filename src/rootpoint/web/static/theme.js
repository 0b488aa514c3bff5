// Light or dark: as the system has it, until the visitor chooses.

import { useEffect, useState } from "./vendor/preact.js";

const system = matchMedia("(prefers-color-scheme: dark)");

export function useTheme() {
  const [chosen, setChosen] = useState(localStorage.getItem("theme"));
  const [dark, setDark] = useState(system.matches);
  useEffect(() => {
    const follow = () => setDark(system.matches);
    system.addEventListener("change", follow);
    return () => system.removeEventListener("change", follow);
  }, []);
  const theme = chosen ?? (dark ? "dark" : "light");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
  }, [theme]);
  const toggle = () => {
    const next = theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", next);
    setChosen(next);
  };
  return { theme, dark: theme === "dark", toggle };
}
