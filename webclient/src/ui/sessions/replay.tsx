// The controls of a record that is shown: its bytes pass through the same readers as when they came.

import { use_bench } from "../bench";
import { span } from "../format";
import { Chip, QuietButton } from "../parts";
import { t } from "../strings";

const speeds = [1, 2, 5, 10, 50];

export function ReplayBar() {
  const bench = use_bench();
  const replay = bench.replay.value;
  if (!replay) return null;
  const playing = replay.playing.value;
  const position = replay.positionMs.value;
  const at_end = position >= replay.durationMs;
  const play = () => {
    if (playing) return replay.pause();
    if (at_end) replay.seek(0);
    replay.play();
  };
  const close = () => {
    replay.close();
    bench.replay.value = null;
  };
  return (
    <div class="banner info replay" role="group" aria-label={t.record.replay}>
      <QuietButton icon={playing ? "pause" : "play"} label={playing ? t.record.pause : t.record.play} onClick={play} />
      <input
        type="range"
        class="grow"
        min={0}
        max={Math.max(1, Math.round(replay.durationMs))}
        value={Math.round(position)}
        aria-label={t.record.position}
        aria-valuetext={span(position)}
        onInput={(event) => replay.seek(Number(event.currentTarget.value))}
      />
      <span class="number">
        {span(position)} / {span(replay.durationMs)}
      </span>
      <select
        class="field"
        aria-label={t.record.speed}
        value={String(replay.speed.value)}
        onChange={(event) => replay.setSpeed(Number(event.currentTarget.value))}
      >
        {speeds.map((speed) => (
          <option key={speed} value={String(speed)}>
            {speed}×
          </option>
        ))}
      </select>
      {replay.redacted && <Chip>{t.record.redacted}</Chip>}
      <span class="muted replay-words">{t.transcript.replaying}</span>
      <QuietButton icon="close" label={t.record.leave} onClick={close} />
    </div>
  );
}
