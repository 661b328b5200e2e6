"""What runs are and what is said of them, without a screen: looking, filtering, comparing, asking."""
