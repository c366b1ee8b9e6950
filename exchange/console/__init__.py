"""The pages: the exchange in a browser, rendered here, in Chinese and English; no scripts are needed."""
