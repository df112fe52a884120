import { LabIcon } from "@jupyterlab/ui-components";
import { Widget } from "@lumino/widgets";
import { Board } from "../../bb_jupyter/frontend/board.js";
import type { Approval, Bottle, Client } from "../../bb_jupyter/frontend/client.js";

const SVG =
  '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><path class="jp-icon3" fill="#616161" ' +
  'd="M9 2h6v2l-1 1v3.2c2.3 1 4 3.3 4 6V20a2 2 0 0 1-2 2H8a2 2 0 0 1-2-2v-5.8c0-2.7 1.7-5 4-6V5L9 4V2zm-1 12v6h8v-6H8z"/></svg>';

export const bottleIcon = new LabIcon({ name: "bb-jupyter:bottle", svgstr: SVG });

/** The sidebar; its title shows the number of waiting requests. */
export class Panel extends Widget {
  readonly board: Board;

  constructor(client: Client, open: (bottle: Bottle) => void, onPending: (approvals: Approval[]) => void) {
    super();
    this.id = "bb-jupyter-panel";
    this.title.icon = bottleIcon;
    this.title.caption = "Bottles";
    this.addClass("bb-panel");
    this.addClass("bb-ui");
    this.node.setAttribute("role", "region");
    this.node.setAttribute("aria-label", "Bottles");
    this.board = new Board(client, {
      open,
      onPending: approvals => {
        this.badge(approvals.length);
        onPending(approvals);
      },
    });
    this.node.append(this.board.element);
  }

  private badge(count: number): void {
    this.title.label = count ? String(count) : "";
    this.title.caption = count ? `Bottles: ${count} waiting for you` : "Bottles";
    this.title.className = count ? "bb-asks" : "";
  }

  protected override onActivateRequest(): void {
    this.board.focus();
  }

  override dispose(): void {
    this.board.dispose();
    super.dispose();
  }
}
