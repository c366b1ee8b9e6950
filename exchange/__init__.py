"""The exchange: departments publish records, a policy decides, consumers get views, auditors get proof."""

__version__ = "0.1.0"
