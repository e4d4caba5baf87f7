"""The training loop and what it needs: order, layout, dropout, optimizer, checkpoints, stopping, prediction."""
