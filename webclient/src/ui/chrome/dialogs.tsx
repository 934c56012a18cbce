// Whatever dialog is open.

import { type Dialog, use_bench } from "../bench";
import { CodingDialog } from "../coding/dialog";
import { SessionDialog } from "../sessions/dialogs";
import { SettingsDialog } from "../settings/dialog";
import { Palette } from "./palette";
import { Shortcuts } from "./shortcuts";

export function OpenDialog({ dialog }: { dialog: Dialog }) {
  const bench = use_bench();
  switch (dialog.kind) {
    case "settings":
      return <SettingsDialog section={dialog.section} />;
    case "palette":
      return <Palette />;
    case "shortcuts":
      return <Shortcuts />;
    case "coding":
      return <CodingDialog />;
    default: {
      const thread = bench.engine.sessions.list.value.find((one) => one.id === dialog.thread);
      return thread ? <SessionDialog kind={dialog.kind} thread={thread} /> : null;
    }
  }
}
