"""What happens to a model after its training: whether new rows are still those it was judged on."""
