// What a coding session has to say besides its turns.

import type { Notice } from "../../model";
import { Icon } from "../icon";
import { t } from "../strings";

export const NoticeLine = ({ item }: { item: Notice }) => (
  <p class={`notice ${item.level}`}>
    <Icon name={item.level === "gap" ? "more" : "warn"} />
    <span dir="auto">
      <span class={item.level === "gap" ? "" : "unseen"}>{t.notice[item.level]} </span>
      {item.text}
    </span>
  </p>
);
