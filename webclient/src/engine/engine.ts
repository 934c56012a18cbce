// The engine as a whole: what knows what.

import { computed } from "@preact/signals-core";
import type { Engine, Records } from "./api";
import { SHOWN } from "./codex/shown";
import { GatewayConnection, limitFor } from "./connection";
import { keyInAddress, KeptKey } from "./key";
import { Painter } from "./painter";
import { KeptSessions } from "./sessions";
import { KeptSettings, read } from "./settings";
import type { Surroundings } from "./surroundings";
import { loadMarkdown } from "./text/markdown";

const IDLE_AFTER_MS = 2_000;

/** What the first sight of the page does not need is fetched when it has been seen, and then is there without a network. */
function prepare(): void {
  void loadMarkdown();
  import("./records").catch(() => undefined);
  import("./search").catch(() => undefined);
}

/** Makes it; `boot` then reads and asks. A key in the page's address is taken out of there at once. */
export function startEngine(surroundings: Surroundings): Engine {
  const settings = new KeptSettings(surroundings.local, surroundings.address());
  const key = new KeptKey(surroundings.local, surroundings.tab, surroundings.clock);
  const link = keyInAddress(surroundings.address());
  if (link.key !== null) {
    surroundings.readdress(link.address);
    key.keep(link.key, "browser");
  }
  const painter = new Painter(surroundings.beforeFrame, () => surroundings.clock.elapsed());
  const connection = new GatewayConnection(
    surroundings,
    () => settings.inForce.value,
    () => key.authorization(),
  );
  const inForce = computed(() => {
    const memoryTools = [...settings.inForce.value.memoryTools, ...connection.config.value.memoryTools];
    return { ...settings.inForce.value, memoryTools };
  });
  const telemetry = (line: string): void => {
    if (settings.value.peek().telemetry) surroundings.report(`hadesgw ${line}`);
  };
  const sessions = new KeptSessions(
    {
      surroundings,
      painter,
      settings: () => inForce.value,
      gateway: () => connection.gateway.value,
      headerNames: () => ({
        requestId: inForce.value.requestIdHeader || connection.config.value.requestIdHeader,
        sessionId: inForce.value.sessionIdHeader || connection.config.value.sessionIdHeader,
      }),
      authorization: () => key.authorization(),
      defaultModel: () =>
        inForce.value.defaultModel || connection.config.value.defaultModel || connection.models.value[0] || "",
      bodyLimit: (path) => limitFor(connection.config.value.bodyBytes, path),
      failed: (failure) => connection.suspect(failure),
      telemetry,
    },
    () => inForce.value.engine,
  );
  const records: Records = {
    export: async (id, { redacted }) => {
      const session = await sessions.get(id);
      if (!session) throw new RangeError("there is no such session");
      const { exportRecord } = await import("./records");
      return exportRecord(session, redacted, surroundings.clock.now());
    },
    open: async (text) => (await import("./records")).openRecord(text, surroundings),
  };
  const unwatch = surroundings.watch((what) => {
    // A hidden page paints nothing by itself: what came by then is to be seen when it is shown.
    if (what === "hidden" || what === "shown") painter.flush();
    if (what === "hidden") sessions.hide();
    else if (what === "left") sessions.leave();
    else {
      if (what === "shown") sessions.stay();
      connection.stir();
    }
  });
  // Another key or another address: another answer to who we are.
  const unfollow = connection.follow(key.place, key.since, connection.gateway);
  let cancelIdle = (): void => undefined;
  return {
    settings,
    key,
    connection,
    sessions,
    records,
    coding: {
      shown: () => read(surroundings.tab, SHOWN),
      load: async () => {
        const { codingDoor } = await import("./codex/door");
        const gateway = (): string => connection.gateway.value;
        return codingDoor({ surroundings, painter, gateway, authorization: () => key.authorization() });
      },
    },
    boot: async () => {
      cancelIdle = surroundings.clock.after(IDLE_AFTER_MS, prepare);
      await Promise.all([connection.start(), sessions.start()]);
    },
    flush: () => painter.flush(),
    close: async () => {
      cancelIdle();
      unwatch();
      unfollow();
      connection.close();
      await sessions.close();
    },
  };
}
