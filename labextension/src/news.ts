import type { Approval } from "../../bb_jupyter/frontend/client.js";

/** Tells of each approval once, and takes that back when it is decided. */
export class News {
  private readonly told = new Map<string, string>();

  /** *tell* shows an approval and returns how to name what it shows; *dismiss* takes it away. */
  constructor(
    private readonly tell: (approval: Approval) => string,
    private readonly dismiss: (id: string) => void,
  ) {}

  /** Take what is pending now. */
  update(pending: Approval[]): void {
    for (const [token, id] of this.told) {
      if (!pending.some(approval => approval.token === token)) {
        this.told.delete(token);
        this.dismiss(id);
      }
    }
    for (const approval of pending) {
      if (!this.told.has(approval.token)) {
        this.told.set(approval.token, this.tell(approval));
      }
    }
  }
}
