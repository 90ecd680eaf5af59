//! Where the page begins.

import "../styles/page.css";
import { createRoot } from "react-dom/client";
import { openRoom } from "../room/open.ts";
import { App } from "./App.tsx";
import { loadAccount } from "./account.ts";
import { followSystemTheme } from "./theme.ts";

const root = document.getElementById("root");
if (root) {
  followSystemTheme();
  void loadAccount();
  createRoot(root).render(<App openRoom={openRoom} />);
}
