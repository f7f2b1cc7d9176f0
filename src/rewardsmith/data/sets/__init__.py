"""Readers of published preference data sets, one small file each; `catalogue` names them."""
