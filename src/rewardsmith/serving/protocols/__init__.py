"""One small file for each protocol; every one maps its body to score requests and the rewards to its answer."""
