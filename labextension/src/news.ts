import type { Approval } from "../../bb_jupyter/frontend/client.js";

/** Tells which approvals nobody has been told of, each once. */
export class News {
  private readonly told = new Set<string>();

  /** Return those that are new. */
  take(approvals: Approval[]): Approval[] {
    const fresh = approvals.filter(approval => !this.told.has(approval.token));
    fresh.forEach(approval => this.told.add(approval.token));
    return fresh;
  }
}
