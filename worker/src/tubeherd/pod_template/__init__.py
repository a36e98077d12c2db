"""What the template of a pool's pods may hold, and what it may not, with the reasons.

Only what a rule judges is declared. The rest is taken as it is, and the API server judges it when the operator applies
the pool's Deployment. A rule about one field is a mark of that field, of which the operator makes a rule of the API
server. A rule about several fields is a function here, and once more in the operator's `admission`.
"""
