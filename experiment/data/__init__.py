"""Objects and the agents' views of them: data sets, files, synthetic."""
