"""The style sheet and the script of the pages, each named by its hash in the policy or its path.

The script only adds comfort: filters of the timeline, highlights in the picture, a print button,
and what the link to the whole life leads to, in its place.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#57606a;--line:#d0d7de;--paper:#fff;--soft:#f6f8fa;
--link:#0550ae;--good:#116329;--bad:#a40e26;--warn:#7d4e00;--p:#0550ae;--l:#6639ba;--s:#7d4e00;
--e:#a40e26;--o:#57606a}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#a5b0bb;--line:#3d444d;--paper:#0d1117;
--soft:#161b22;--link:#79b8ff;--good:#56d364;--bad:#ff9492;--warn:#f0b72f;--p:#79b8ff;--l:#d2a8ff;
--s:#f0b72f;--e:#ff9492;--o:#a5b0bb}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,"Noto Sans SC","Microsoft YaHei",sans-serif;margin:0;color:var(--ink);
background:var(--paper);overflow-wrap:break-word}
header.top,main,footer{max-width:68rem;margin:0 auto;padding:0 1rem}
header.top{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;align-items:center;padding-top:.7rem}
header.top nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem}
footer{color:var(--dim);font-size:.9rem;padding-bottom:2rem;border-top:1px solid var(--line);
margin-top:2.5rem;padding-top:.8rem}
a{color:var(--link)}a:focus-visible,summary:focus-visible,button:focus-visible,[tabindex]:focus-visible{
outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-100rem}.skip:focus{position:static}
h1{font-size:1.7rem;line-height:1.25;margin:.8rem 0 .2rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2rem 0 .6rem;padding-bottom:.2rem;border-bottom:1px solid var(--line)}
h3{font-size:1.02rem;margin:0}
code{font-size:.93em;overflow-wrap:anywhere}.dim{color:var(--dim)}
.head{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:1rem 2rem;align-items:start}
.qr svg{width:9.5rem;height:9.5rem;background:#fff;display:block}
.qr{margin:.8rem 0 0;max-width:9.5rem;font-size:.8rem;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:minmax(7rem,auto) 1fr;gap:.25rem 1.2rem;margin:.8rem 0}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap}
.verdict{font-size:1.1rem;font-weight:600;margin:.4rem 0}
ul.badges{list-style:none;margin:.4rem 0;padding:0;display:grid;gap:.5rem;
grid-template-columns:repeat(auto-fill,minmax(17rem,1fr))}
ul.badges li{border:1px solid var(--line);border-left:.35rem solid var(--o);border-radius:.4rem;
padding:.5rem .8rem;background:var(--soft);overflow-wrap:anywhere}
ul.badges li.good{border-left-color:var(--good)}ul.badges li.bad{border-left-color:var(--bad)}
ul.badges li.open{border-left-color:var(--warn)}
ul.badges strong{display:block}.good strong,.seal.good{color:var(--good)}
.bad strong,.seal.bad{color:var(--bad)}.open strong,.seal.open{color:var(--warn)}
ol.life{list-style:none;margin:0;padding:0 0 0 1.1rem;border-left:.2rem solid var(--line)}
ol.life>li{position:relative;margin:0 0 1.1rem;padding-left:.4rem}
ol.life>li::before{content:"";position:absolute;left:-1.68rem;top:.4rem;width:.9rem;height:.9rem;
border-radius:50%;background:var(--o);border:2px solid var(--paper)}
li.production::before{background:var(--p)!important}li.logistics::before{background:var(--l)!important}
li.service::before{background:var(--s)!important}li.end-of-life::before{background:var(--e)!important}
.chip{display:inline-block;border:1px solid currentColor;border-radius:1rem;padding:0 .6rem;
font-size:.85rem;color:var(--o)}
.production .chip,.chip.production{color:var(--p)}.logistics .chip,.chip.logistics{color:var(--l)}
.service .chip,.chip.service{color:var(--s)}.end-of-life .chip,.chip.end-of-life{color:var(--e)}
li.inherited{opacity:.92}li.inherited h3{font-weight:500;font-style:italic}
p.facts{margin:.1rem 0;overflow-wrap:anywhere}p.more{margin:1.4rem 0 0}
details{margin:.3rem 0}summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--soft);padding:.6rem;font-size:.8rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line);
overflow-wrap:anywhere}
.graph svg{min-width:46rem;width:100%;height:auto;display:block}
.graph rect{fill:var(--soft);stroke:var(--dim);stroke-width:1.3}
.graph .self rect{stroke:var(--link);stroke-width:3}.graph .carrier rect{stroke-dasharray:5 3}
.graph text{fill:var(--ink);font-size:13px}.graph text.small{fill:var(--dim);font-size:11px}
.graph path{fill:none;stroke:var(--dim);stroke-width:1.6}
.graph path.stay{stroke-dasharray:6 4}.graph path.maybe{stroke-dasharray:2 4}
.graph .lit path{stroke:var(--link);stroke-width:3.2}.graph .lit rect{stroke:var(--link)}
.graph marker path{fill:var(--dim);stroke:none}
.filters{display:flex;flex-wrap:wrap;gap:.4rem;margin:.4rem 0 1rem}
.filters button,.print{font:inherit;border:1px solid var(--dim);border-radius:1rem;padding:.15rem .8rem;
background:var(--paper);color:var(--ink);min-height:2rem}
.filters button[aria-pressed=true]{background:var(--link);color:var(--paper)}
[hidden]{display:none!important}
.certificate{border:3px double var(--ink);padding:1.5rem 2rem;margin:1.2rem 0}
@media(max-width:40rem){.head{grid-template-columns:minmax(0,1fr)}dl{grid-template-columns:1fr;gap:0}
dd{margin-bottom:.5rem}h1{font-size:1.4rem}.certificate{padding:.8rem}}
@media print{:root{--ink:#000;--dim:#333;--paper:#fff;--soft:#fff;--link:#000;--line:#888}
header.top nav,.filters,.print,footer .nav,.skip{display:none!important}body{font-size:11pt}
a{text-decoration:none}main{max-width:none}.certificate{break-inside:auto}
ol.life>li,ul.badges li{break-inside:avoid}}
""".replace("\n", "")

SCRIPT: Final = """'use strict';
(function () {
  var one = function (name) { return document.querySelector(name); };
  var all = function (name) { return Array.prototype.slice.call(document.querySelectorAll(name)); };
  var light = function (id, on) {
    all('.graph [data-of]').forEach(function (part) {
      if (part.dataset.of.split(' ').indexOf(id) >= 0) { part.classList.toggle('lit', on); }
    });
  };
  var liven = function () {
    var filters = one('.filters');
    if (filters) {
      filters.hidden = false;
      filters.addEventListener('click', function (event) {
        var button = event.target.closest('button');
        if (!button) { return; }
        all('.filters button').forEach(function (other) {
          other.setAttribute('aria-pressed', String(other === button));
        });
        all('ol.life > li').forEach(function (item) {
          var wanted = button.dataset.family;
          item.hidden = Boolean(wanted) && !item.classList.contains(wanted);
        });
      });
    }
    all('.graph [data-node]').forEach(function (node) {
      [['mouseenter', true], ['focusin', true], ['mouseleave', false], ['focusout', false]]
        .forEach(function (pair) {
          node.addEventListener(pair[0], function () { light(node.dataset.node, pair[1]); });
        });
    });
  };
  var print = one('.print');
  if (print) {
    print.hidden = false;
    print.addEventListener('click', function () { window.print(); });
  }
  var open = function () {
    var found = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (!found || found.tagName !== 'DETAILS') { return; }
    for (var at = found; at; at = at.parentElement.closest('details')) { at.open = true; }
    found.scrollIntoView();
  };
  window.addEventListener('hashchange', open);
  open();
  liven();
  var asked = one('#asked');
  var link = one('p.more a');
  if (asked && link && window.fetch && window.DOMParser) {
    var own = one('#whole');
    asked.textContent = own.dataset.asking;
    fetch(link.href, {credentials: 'omit'}).then(function (reply) {
      if (!reply.ok) { throw reply.status; }
      return reply.text();
    }).then(function (text) {
      var found = new DOMParser().parseFromString(text, 'text/html').getElementById('whole');
      if (!found || found.dataset.state !== 'whole') { throw 0; }
      if (own.contains(document.activeElement)) { asked.textContent = ''; return; }
      own.replaceWith(document.adoptNode(found));
      asked.textContent = found.dataset.said;
      link.hidden = document.activeElement !== link;
      liven();
      open();
    }).catch(function () { asked.textContent = own.dataset.failed; });
  }
}());
"""
SCRIPT_PATH: Final = f"/api/page-{sha256(SCRIPT.encode()).hexdigest()[:16]}.js"
_STYLE_HASH: Final = b64encode(sha256(STYLE.encode()).digest()).decode()

HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; script-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Type": "text/html;charset=UTF-8",
    "Vary": "Accept-Language",
}
