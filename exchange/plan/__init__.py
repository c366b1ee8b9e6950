"""The waist on the way out (plan.md): what policy is asked, a `Question`, and what it answers, a `Plan`.

Both are complete JSON documents with a canonical digest; an unknown key, mask, operator or format is a refusal.
"""

from exchange.plan.answer import GROUNDS, PLAN_FORMAT, REASONS, REFUSALS, Grant, Plan
from exchange.plan.question import QUESTION_FORMAT, Question

__all__ = ["GROUNDS", "PLAN_FORMAT", "QUESTION_FORMAT", "REASONS", "REFUSALS", "Grant", "Plan", "Question"]
