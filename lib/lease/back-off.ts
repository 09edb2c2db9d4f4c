/** Growing pauses between tries. Each pause is jittered by a quarter, so that hosts that came together spread. */
export class BackOff {
  readonly #firstMs: number;
  readonly #mostMs: number;
  readonly #growth: number;
  #pauseMs = 0;

  /**
   * @param firstMs the first pause, in milliseconds.
   * @param mostMs the longest pause, in milliseconds, before the jitter.
   * @param growth the factor from each pause to the next. Default 2.
   */
  constructor(firstMs: number, mostMs: number, growth = 2) {
    this.#firstMs = firstMs;
    this.#mostMs = mostMs;
    this.#growth = growth;
  }

  /** Gives the next pause, in milliseconds. */
  nextMs(): number {
    this.#pauseMs = Math.min(this.#pauseMs * this.#growth || this.#firstMs, this.#mostMs);
    return this.#pauseMs * (0.75 + Math.random() / 2);
  }

  /** Starts anew: the next pause is the first pause again. */
  reset(): void {
    this.#pauseMs = 0;
  }
}
