"""What asking costs: an estimate before, a ceiling that is never passed, the bill after."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .options import Price
from .protocol import Entry, Request, encode_body, same_model, through_batch
from .summary import usage_of

#: What a chat costs beyond the text, by OpenAI's cookbook on counting tokens: four tokens a
#: message (its frame and role) and three to open the answer.
TOKENS_PER_MESSAGE, TOKENS_PER_ANSWER = 4, 3


@dataclass(frozen=True)
class Estimate:
    """What a list of requests will cost, in US dollars, told before the first one is sent.

    Attributes:
        requests: Number of requests.
        prompt_tokens: By the caller's tokenizer, with the frame of each message.
        completion_tokens: Expected.
        completion_tokens_ceiling: If every answer were cut at its limit; None if one has no limit.
        cost_usd: Of the expected tokens; None if a model has no price.
        cost_ceiling_usd: Of the ceiling; None if it is unknown.
        prices_as_of: The oldest day on which one of the prices was looked up.
        unpriced_models: Models without a price.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    completion_tokens_ceiling: int | None
    cost_usd: float | None
    cost_ceiling_usd: float | None
    prices_as_of: str | None
    unpriced_models: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON-serialisable data."""
        return {**asdict(self), "unpriced_models": list(self.unpriced_models)}


def estimate(
    requests: Iterable[Request],
    count_tokens: Callable[[str], int],
    prices: Mapping[str, Price],
    expected_output_tokens: float,
    *,
    batch: bool = False,
) -> Estimate:
    """Add up what requests will cost.

    Args:
        requests: In the Batch format.
        count_tokens: Tokens in a text; the tokenizer of another model is a fair guess.
        prices: By model name.
        expected_output_tokens: Mean length of an answer.
        batch: At the price of the Batch API.
    """
    number, prompt, expected, ceiling = 0, 0, 0.0, 0
    cost, cost_ceiling = 0.0, 0.0
    unpriced, unlimited = set[str](), False
    used = list[Price]()
    for request in requests:
        body = request["body"]
        tokens = TOKENS_PER_ANSWER + sum(
            TOKENS_PER_MESSAGE + count_tokens(_text(message)) for message in body["messages"]
        )
        limit = answer_limit(request)
        answer = expected_output_tokens * body.get("n", 1)
        number, prompt = number + 1, prompt + tokens
        expected += answer if limit is None else min(answer, limit)
        unlimited = unlimited or limit is None
        ceiling += limit or 0
        price = find_price(prices, body["model"])
        if price is None:
            unpriced.add(body["model"])
            continue
        used.append(price)
        cost += cost_of(price, tokens, answer if limit is None else min(answer, limit), batch)
        cost_ceiling += cost_of(price, tokens, limit or 0, batch)
    return Estimate(
        requests=number,
        prompt_tokens=prompt,
        completion_tokens=round(expected),
        completion_tokens_ceiling=None if unlimited else ceiling,
        cost_usd=None if unpriced else cost,
        cost_ceiling_usd=None if unpriced or unlimited else cost_ceiling,
        prices_as_of=min((price.as_of.isoformat() for price in used), default=None),
        unpriced_models=tuple(sorted(unpriced)),
    )


def cost_of(price: Price, prompt: float, answer: float, batch: bool) -> float:
    """Return the cost in US dollars of tokens; cached prompt tokens count in full."""
    dollars = (prompt * price.input_per_million + answer * price.output_per_million) / 1e6
    return dollars * (1 - price.batch_discount) if batch else dollars


def find_price(prices: Mapping[str, Price], model: str) -> Price | None:
    """Return the price of a model or of the model that it is a snapshot of."""
    if model in prices:
        return prices[model]
    return next((price for name, price in prices.items() if same_model(name, model)), None)


def answer_limit(request: Request) -> int | None:
    """Return the most tokens that all answers to a request can have together."""
    body = request["body"]
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    return None if limit is None else int(limit) * int(body.get("n", 1))


def _text(message: Mapping[str, Any]) -> str:
    """Return the text of a message, whose content may come in parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


class Purse:
    """Keeps a run within its budget: the worst case of all requests under way is set aside.

    The budget holds for all that a journal has cost, earlier runs included, so that running a
    command again never spends it twice.

    Args:
        prices: By model name; empty if costs do not matter.
        budget_usd: None for no limit.

    Attributes:
        spent: Cost of all answers so far, in US dollars.
        lost: Ceiling of what tries cost whose answer never arrived.
        set_aside: Ceiling of what is under way.
        under_way: Number of reservations.
    """

    def __init__(self, prices: Mapping[str, Price], budget_usd: float | None):
        self.prices, self.budget_usd = prices, budget_usd
        self.spent = self.lost = self.set_aside = 0.0
        self.under_way = 0
        self.unpriced = False

    def worst_case(self, request: Request, *, batch: bool = False) -> float:
        """Return what a request costs at most; 0 without a price or limit, if there is no budget.

        No tokenizer makes more tokens than a text has bytes, and the JSON around a message is
        longer than its frame in tokens; so the size of the body bounds the prompt.

        Raises:
            ValueError: There is a budget, but no price or no limit for the answer.
        """
        custom_id, model = request["custom_id"], request["body"]["model"]
        price = find_price(self.prices, model)
        if price is None and self.budget_usd is None:
            return 0.0
        if price is None:
            raise ValueError(
                f"request {custom_id}: there is a budget but no price for model {model!r}; add it "
                "to the price table (0 for a local server) or lift the budget"
            )
        limit = answer_limit(request)
        if limit is None and price.output_per_million and self.budget_usd is not None:
            raise ValueError(
                f"request {custom_id}: there is a budget, but max_tokens is missing, so that no "
                "one knows what the answer may cost; set it or lift the budget"
            )
        return cost_of(price, len(encode_body(request)), limit or 0, batch)

    def reserve(self, amount: float) -> bool:
        """Set money aside for a request; False if it might pass the budget."""
        if not self.allows(amount):
            return False
        self.commit(amount)
        return True

    def allows(self, amount: float) -> bool:
        """Tell whether the budget has room for the worst case of something more."""
        committed = self.spent + self.lost + self.set_aside
        return self.budget_usd is None or committed + amount <= self.budget_usd

    def commit(self, amount: float) -> None:
        """Set money aside for what cannot be taken back any more."""
        self.set_aside += amount
        self.under_way += 1

    def release(self, amount: float) -> None:
        """Put back what was set aside for a request."""
        self.under_way -= 1
        self.set_aside = self.set_aside - amount if self.under_way else 0.0

    def pay(self, entry: Entry, worst: float = 0.0) -> float | None:
        """Book a response and return its cost; None if it is unknown.

        Args:
            entry: Errors are free.
            worst: Booked as lost where the response tells no usage.
        """
        response = entry.get("response")
        if not isinstance(response, dict) or response.get("status_code") != 200:
            return 0.0
        body = response.get("body")  # without choices, too: the tokens were made
        if not isinstance(body, dict):
            self.lost += worst
            return None
        usage = usage_of(body)
        price = find_price(self.prices, str(body.get("model"))) or self._dearest()
        if price is None or usage is None:
            self.lost += worst
            self.unpriced = True
            return None
        cost = cost_of(price, *usage, through_batch(entry))
        self.spent += cost
        return cost

    def _dearest(self) -> Price | None:
        """The price of an answer whose model is not in the table: never too low."""
        return max(
            self.prices.values(),
            key=lambda price: (price.output_per_million, price.input_per_million),
            default=None,
        )
