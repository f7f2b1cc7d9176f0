"""Train models that judge the steps of a solution: settings, labels as tokens, the loss and PRMTrainer."""
