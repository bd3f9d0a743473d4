"""HTML of a program's report; the pictures are inlined so that one file can be sent around."""

__all__ = ["PAGE"]

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ title }}</title>
<style>
  body { font-family: sans-serif; margin: 2em auto; max-width: 72em; color: #222; }
  table { border-collapse: collapse; margin: 1em 0; font-size: 90%; }
  th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #ddd; }
  th { border-bottom: 2px solid #888; }
  .text { text-align: left; }
  svg { max-width: 100%; height: auto; }
  code { font-size: 90%; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>Batch of {{ plan.batch }} on {{ outline }}
{%- if array %}, groups of {{ plan.config.group }}{% endif %}.
{{ "{:,}".format(plan.predicted_cycles) }} cycles predicted{% if not array %} at most{% endif %}
{%- if measured %},
{{ "{:,}".format(measured.cycles) }} measured on device <code>{{ measured.device }}</code>
{%- endif %};
{{ "{:,}".format(plan.ideal_cycles) }} would be enough if {{ "no multiplier ever waited" if array
else "no step were skipped and none ever waited" }}.</p>
<h2>Layers</h2>
<table>
<tr><th class="text">layer</th><th class="text">kind</th>{% if array %}<th>K</th>{% endif %}
<th>nonzero</th>
<th>weight bytes</th><th>activation words</th><th>ideal cycles</th><th>predicted</th>
{%- if measured %}<th>measured</th>{% endif %}<th>occupancy</th></tr>
{% for row in layers -%}
<tr><td class="text">{{ row.name }}</td><td class="text">{{ row.kind }}</td>
{%- if array %}<td>{{ row.k if row.k else "&ndash;"|safe }}</td>{% endif %}
<td>{{ "{:,}".format(row.nnz) }}</td>
<td>{{ "{:,}".format(row.weight_bytes) }}</td><td>{{ "{:,}".format(row.activation_words) }}</td>
<td>{{ "{:,}".format(row.ideal_cycles) }}</td><td>{{ "{:,}".format(row.predicted_cycles) }}</td>
{%- if measured %}<td>{{ "{:,}".format(row.cycles) }}</td>{% endif %}
<td>{{ "%.1f %%"|format(100 * row.occupancy) if row.ideal_cycles else "&ndash;"|safe }}</td></tr>
{% endfor -%}
</table>
<h2>Memories</h2>
<table>
<tr><th class="text">memory</th><th>used</th><th>available</th><th>share</th></tr>
{% for use in plan.memories -%}
<tr><td class="text">{{ use.memory }}</td><td>{{ "{:,}".format(use.used) }}</td>
<td>{{ "{:,}".format(use.available) }}</td>
<td>{{ "%.1f %%"|format(100 * use.used / use.available) }}</td></tr>
{% endfor -%}
</table>
{% for picture in pictures -%}
<h2>{{ picture.title }}</h2>
<p>{{ picture.caption }}</p>
{{ picture.svg|safe }}
{% endfor -%}
<h2>Configuration</h2>
<p>SHA-256 <code>{{ plan.config_sha256 }}</code></p>
<table>
{% for name, value in config -%}
<tr><td class="text">{{ name }}</td><td>{{ value }}</td></tr>
{% endfor -%}
</table>
</body>
</html>
"""
