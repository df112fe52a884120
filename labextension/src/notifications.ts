import type { Approval } from "../../bb_jupyter/frontend/client.js";

/** Shows one notification for each waiting request, and dismisses it when the request is decided. */
export class Notifications {
  private readonly shown = new Map<string, string>();

  /** *show* shows a notification and returns its id; *dismiss* removes the notification with an id. */
  constructor(
    private readonly show: (approval: Approval) => string,
    private readonly dismiss: (id: string) => void,
  ) {}

  /** Update the notifications to the requests that are pending now. */
  update(pending: Approval[]): void {
    for (const [token, id] of this.shown) {
      if (!pending.some(approval => approval.token === token)) {
        this.shown.delete(token);
        this.dismiss(id);
      }
    }
    for (const approval of pending) {
      if (!this.shown.has(approval.token)) {
        this.shown.set(approval.token, this.show(approval));
      }
    }
  }
}
