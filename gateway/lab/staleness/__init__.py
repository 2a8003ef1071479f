"""`gateway lab staleness`: how long a node still answers by the old configuration.

Pure: strategies, pace, changes, results, summary. The others touch the outside: wire (one HTTP
connection), probe, writer, lanes (the measurement), meters (what nodes and database count), load,
clusters (whom to measure), and the report's table, files, plots and page.
"""
