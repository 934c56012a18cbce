// The answer's body as it was received, in one piece.

import { save_file, use_revealed } from "../bench";
import { bytes } from "../format";
import { CopyButton, QuietButton } from "../parts";
import { t } from "../strings";
import { Payload } from "../transcript/payload";
import { BodiesSwitch, type Shown } from "./inspector";

const MOST_SHOWN = 64 * 1024;

export function RawPanel({ shown }: { shown: Shown }) {
  const { view } = shown;
  const attempt = view.attempt.value;
  const frames = view.frames.value;
  if (frames === null || attempt.bytes === 0) return <p class="hollow">{t.inspector.raw_none}</p>;
  const revealed = use_revealed(attempt.id);
  const body = () => new TextDecoder().decode(view.body());
  return (
    <section class="panel-part">
      <div class="row">
        <span class="grow number">{bytes(attempt.bytes)}</span>
        <BodiesSwitch id={attempt.id} />
        {revealed && <CopyButton text={body} />}
        {revealed && (
          <QuietButton
            icon="out"
            onClick={() =>
              save_file(
                `${attempt.id}.${attempt.framing === "plain" ? "json" : "sse"}`,
                "application/octet-stream",
                Uint8Array.from(view.body()),
              )
            }
          >
            {t.inspector.frame_save}
          </QuietButton>
        )}
      </div>
      {!revealed && attempt.framing === "plain" && (
        <Payload text={body()} revealed={false} label={t.inspector.tabs.raw} />
      )}
      {!revealed && attempt.framing !== "plain" && <p class="hint">{t.inspector.shape_hint}</p>}
      {revealed && attempt.bytes > MOST_SHOWN && <p class="hint">{t.inspector.raw_large(MOST_SHOWN, attempt.bytes)}</p>}
      {revealed && <pre class="wire">{new TextDecoder().decode(view.body().subarray(0, MOST_SHOWN))}</pre>}
    </section>
  );
}
