#include "reports/html/assets.h"

namespace mg::html {

// Good and bad are a blue green and a vermilion, told apart with every kind of colour vision, and
// never by colour alone.  Text keeps a contrast of 4.5 to its ground in both schemes.
std::string_view page_style() {
  return R"CSS(
:root{color-scheme:light dark;--ground:#fff;--raised:#f5f6f8;--line:#d5d9e0;--text:#1b1f26;
--faint:#5a6270;--good:#00695c;--good-ground:#e3f3f0;--bad:#a83200;--bad-ground:#fdeee6;
--unsure:#6b4e00;--unsure-ground:#fbf3d8;--quiet:#5a6270;--link:#0a5aa8;--first:#0072b2;
--second:#c24e00;--third:#8a5a83;--band:#9aa3b0;--heat0:#e4edf2;--heat1:#f6d9a8;--heat2:#ec9d4a;
--heat3:#c4531c;--heat4:#6b1d10}
@media(prefers-color-scheme:dark){:root{--ground:#14171c;--raised:#1e232b;--line:#3a424e;
--text:#e6e9ee;--faint:#a3acb9;--good:#5fd0bd;--good-ground:#10302c;--bad:#ff9a6b;
--bad-ground:#3a1d10;--unsure:#e9c65a;--unsure-ground:#332a0c;--quiet:#a3acb9;--link:#7db9f0;
--first:#56b4e9;--second:#ff9a4d;--third:#d39acb;--band:#7d8794;--heat0:#25303a;--heat1:#5c4a20;
--heat2:#a2641f;--heat3:#e07a3a;--heat4:#ffc9a3}}
*{box-sizing:border-box}
html{scroll-padding-top:3rem}
body{margin:0;overflow-wrap:break-word;background:var(--ground);color:var(--text);line-height:1.45;
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:1340px;margin:0 auto;padding:0 1rem 4rem}
code,pre{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.87em;
overflow-wrap:anywhere}
a{color:var(--link)}
h1{font-size:1.45rem;line-height:1.2;margin:.2rem 0 .4rem}
h2{font-size:1.25rem;margin:2.6rem 0 .5rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:0}
h4{font-size:.8rem;margin:0 0 .3rem;color:var(--faint);font-weight:600}
p{margin:.4rem 0}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.hide{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.faint,.basis,.intro,.counts,figcaption p{color:var(--faint)}
.intro{max-width:75ch}
.skip{position:absolute;left:-99rem}
.skip:focus{left:.5rem;top:.5rem;background:var(--ground);padding:.5rem;z-index:3}
.top{display:flex;justify-content:space-between;gap:1rem;padding:.5rem 0;color:var(--faint);
font-size:.85rem}
nav{position:sticky;top:0;z-index:2;background:var(--ground);border-bottom:1px solid var(--line);
margin:1rem -1rem 0;padding:0 1rem}
nav ul{display:flex;gap:.2rem 1.1rem;list-style:none;margin:0;padding:.45rem 0;overflow-x:auto}
nav a{white-space:nowrap;text-decoration:none;font-size:.92rem}
nav a:hover{text-decoration:underline}
.verdict{border-left:8px solid var(--quiet);background:var(--raised);padding:.7rem 1rem .8rem;
border-radius:0 8px 8px 0}
.verdict.good{border-color:var(--good);background:var(--good-ground)}
.verdict.bad{border-color:var(--bad);background:var(--bad-ground)}
.verdict.unsure{border-color:var(--unsure);background:var(--unsure-ground)}
.verdict-word{margin:0}
.verdict-word .badge{font-size:1.5rem;letter-spacing:.04em}
.reason{max-width:95ch;overflow-wrap:anywhere}
.badge{font-weight:700;white-space:nowrap;color:var(--quiet)}
.badge.good{color:var(--good)}.badge.bad{color:var(--bad)}.badge.unsure{color:var(--unsure)}
.cards{list-style:none;margin:.8rem 0;padding:0;display:grid;gap:.8rem;
grid-template-columns:repeat(auto-fit,minmax(250px,1fr))}
.card{position:relative;background:var(--raised);border:1px solid var(--line);border-radius:8px;
padding:.6rem .8rem}
.card.bad{border-color:var(--bad)}.card.unsure{border-color:var(--unsure)}
.card .label,.card .detail{display:block;color:var(--faint);font-size:.87rem;padding-right:4.5rem}
.card .detail{padding-right:0}
.card .value{display:block;font-size:1.5rem;font-weight:650;font-variant-numeric:tabular-nums}
.card .badge{position:absolute;right:.8rem;top:.6rem;font-size:.87rem}
.unchecked{border-left:4px solid var(--unsure);padding:.2rem .7rem;background:var(--unsure-ground)}
.error{border:1px solid var(--bad);border-radius:8px;padding:.4rem .9rem;margin:.8rem 0}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(270px,1fr));gap:.15rem 1.4rem;
margin:.6rem 0;font-size:.9rem}
.facts div{display:flex;gap:.6rem;min-width:0}
.facts dt{color:var(--faint);flex:0 0 auto}
.facts dd{margin:0;min-width:0;overflow-wrap:anywhere}
.pair-of{display:flex;flex-wrap:wrap;gap:.1rem 1.4rem;margin:.3rem 0;font-size:.92rem}
.pair-of div{display:flex;gap:.5rem;min-width:0}
.pair-of dt{flex:none;color:var(--faint)}.pair-of dd{margin:0;overflow-wrap:anywhere}
.tag{display:inline-block;border:1px solid var(--line);border-radius:4px;padding:0 .35em;
font-size:.8rem;color:var(--faint)}
.findings{list-style:none;padding:0;margin:.5rem 0;display:grid;gap:.6rem}
.finding{border:1px solid var(--line);border-left:5px solid var(--quiet);border-radius:0 8px 8px 0;
padding:.5rem .8rem;overflow-wrap:anywhere}
.finding.bad{border-left-color:var(--bad)}.finding.unsure{border-left-color:var(--unsure)}
.finding .rule{font-weight:600}.finding p{margin:.2rem 0}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:1rem;
margin:.8rem 0}
figure{margin:0;padding:.7rem .8rem;border:1px solid var(--line);border-radius:8px;min-width:0}
figure.wide{max-width:60rem}
#selftest .scroll{max-height:none}
#selftest table{min-width:62rem}
.trends{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,600px),1fr));gap:1rem;
margin:.8rem 0}
figcaption p{font-size:.87rem;margin:.1rem 0 .4rem}
figure svg{display:block;width:100%;max-width:520px;height:auto}
figure.wide svg{max-width:none}
svg text{fill:var(--text);font-size:12px}
svg .unit,svg .small{fill:var(--faint);font-size:11px}
svg .mark{font-size:11px;font-weight:600}
svg .strong{font-size:13px}svg .bad{fill:var(--bad)}
.grid{stroke:var(--line);stroke-width:1;opacity:.6}.axis{stroke:var(--faint);stroke-width:1}
.bar,.series0{fill:var(--first)}.series1{fill:var(--second)}.series2{fill:var(--third)}
.band{fill:var(--band);opacity:.25}
.floor{stroke:var(--faint);stroke-width:1.5;stroke-dasharray:2 2}
.limit{stroke:var(--text);stroke-width:1.5;stroke-dasharray:6 3}
.allowed{fill:var(--good);opacity:.16}
.whisker{stroke:var(--text);stroke-width:2.5;fill:none}
.mean{fill:var(--text)}
.point{fill:var(--first);stroke:var(--ground);stroke-width:1}
.point.good{fill:var(--good)}
.point.unsure{fill:var(--ground);stroke:var(--unsure);stroke-width:2.5}
.point.bad{fill:none;stroke:var(--bad);stroke-width:3}
.dots,.dots-small{fill:none;stroke:var(--first);stroke-linecap:round;stroke-width:6}
.dots-small{stroke-width:3}
.line,.beads{fill:none;stroke-width:2}
.first{stroke:var(--first)}.second{stroke:var(--second)}.line.second{stroke-dasharray:5 3}
.culprit{stroke:var(--bad);stroke-width:2}.ring{fill:none;stroke:var(--bad);stroke-width:2.5}
.heat0{fill:var(--heat0)}.heat1{fill:var(--heat1)}.heat2{fill:var(--heat2)}
.heat3{fill:var(--heat3)}.heat4{fill:var(--heat4)}
.cross{stroke:var(--text);stroke-width:1.6;fill:none}.cross.strong-ground{stroke:var(--ground)}.clear{fill:transparent}
details{margin:.4rem 0}
summary{cursor:pointer;color:var(--link);padding:.15rem 0}
.more>summary{font-weight:600;padding:.4rem 0}
.scroll{overflow:auto;max-height:32rem;margin:.5rem 0;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;width:100%;font-size:.87rem}
.scroll caption{text-align:left;padding:.4rem .6rem;font-weight:600}
th,td{padding:.28rem .6rem;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
tbody th{font-weight:400}
.named tbody th{font:.87em ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
thead th{font-weight:600;background:var(--raised);border-top:0;position:sticky;top:0;
white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td:not(.n),tbody th{overflow-wrap:anywhere}
thead button{all:unset;cursor:pointer;font-weight:600}
thead button:focus-visible{outline:3px solid var(--link)}
th[aria-sort=ascending] button::after{content:" ▲"}
th[aria-sort=descending] button::after{content:" ▼"}
.find{margin:.4rem .6rem;font:inherit;padding:.2rem .4rem;color:inherit;background:var(--ground);
border:1px solid var(--faint);border-radius:4px;max-width:90%}
.gates th,.gates td{padding:.5rem .6rem;vertical-align:top}
.gates thead th{position:static}
.gates .gate{display:block;font-weight:600;overflow-wrap:anywhere}
.gates .pair{display:block;color:var(--faint);font-size:.8rem}
.gates .why{min-width:15rem;max-width:26rem}.gates .basis{display:block;font-size:.8rem}
.gates .strip{width:240px}
.gates svg{width:240px;height:38px;display:block}
.gates td{font-variant-numeric:tabular-nums}
.cards-wide{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:1rem}
.evidence{border:1px solid var(--line);border-radius:8px;padding:.7rem .8rem;min-width:0}
blockquote{margin:.4rem 0;padding:.4rem .6rem;background:var(--raised);border-radius:6px;
white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,"DejaVu Sans Mono",monospace;
font-size:.82rem}
mark{background:var(--unsure-ground);color:inherit;border-bottom:2px solid var(--unsure)}
.lanes{display:grid;grid-template-columns:repeat(auto-fit,minmax(110px,1fr));gap:.6rem}
.lane ol{margin:0;padding:0;list-style:none;font-size:.82rem}
.lane li{display:flex;flex-wrap:wrap;gap:0 .3rem;align-items:baseline;padding:.12rem 0}
.lane .n{margin-left:auto}
.token{white-space:pre-wrap;background:var(--raised);border-radius:3px;padding:0 .2em}
.p{width:100%;height:5px;order:9}
.command{position:relative;background:var(--raised);border:1px solid var(--line);border-radius:6px;
padding:.7rem .9rem;overflow-x:auto;white-space:pre-wrap}
footer{margin-top:3rem;color:var(--faint);font-size:.85rem}
@media(max-width:700px){
h1{font-size:1.2rem}.verdict-word .badge{font-size:1.25rem}.cards{gap:.5rem}
.card{padding:.4rem .7rem}.card .value{font-size:1.25rem}
.gates,.gates tbody{display:block}.gates thead{display:none}
.gates tr{display:grid;grid-template-columns:1fr 1fr;border:1px solid var(--line);border-radius:8px;
margin:.6rem 0;padding:.4rem}
.gates th,.gates td{border:0;padding:.15rem .3rem}
.gates th,.gates .strip,.gates .why{grid-column:1/-1;max-width:none;width:auto}
.gates .strip svg{width:100%;max-width:340px;height:auto}
.gates td[data-label]::before{content:attr(data-label) " ";color:var(--faint);font-size:.8rem}
.gates td:empty{display:none}
.facts div{flex-wrap:wrap;gap:0 .6rem}}
@media print{:root{--ground:#fff;--text:#000}nav,.find,.skip{display:none}main{max-width:none}
.scroll{max-height:none;overflow:visible;border:0}figure,.evidence,.finding,.gates tr{break-inside:avoid}
details::details-content{content-visibility:visible;block-size:auto}
body{font-size:11px}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
@media(prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
)CSS";
}

}  // namespace mg::html
