"""The rule labeler's vocabulary: what counts as a mention of each finding, and what denies or doubts one.

The mentions started from the phrase lists of the CheXpert labeler (MIT licence, Stanford Machine Learning Group) and
were extended on public reports; the cues are our own. Patterns are regular expressions over lower-case text with single
blanks.
"""

from __future__ import annotations

OTHER = "Other"
"""Abnormalities outside the 14 classes; one of them keeps a report from being labelled "No Finding"."""

MENTIONS: dict[str, str] = {
    "Enlarged Cardiomediastinum": (
        r"(?:widen\w*|enlarge\w*|prominen\w*)(?: of)?(?: the)? (?:\w+ )?(?:cardio)?mediastin\w+"
        r"|(?:cardio)?mediastin\w+(?: \w+){0,3}? (?:widen\w*|enlarge\w*|prominen\w*)"
    ),
    "Cardiomegaly": (
        r"cardiomegaly|(?:cardiac|heart) enlargement|enlargement of the (?:heart|cardiac \w+)"
        r"|enlarged (?:heart|cardiac (?:silhouette|contour|shadow|size))"
        r"|\b(?:the )?(?:heart|cardiac(?: silhouette| contours?| shadow)?)(?: size)?(?: \w+){0,4}?"
        r" (?:enlarged|large\b|(?:larger|bigger) than)"
    ),
    "Lung Opacity": (
        r"opaci\w+|infiltrates?|infiltration|air ?-?space (?:disease|process)"
        r"|(?:increased|interstitial|streaky|patchy|hazy|linear|basilar|airspace|focal) densit\w+"
        r"|interstitial (?:markings?|pattern|disease|prominence|thickening|changes)"
        r"|reticula\w+|(?:parenchymal |apical |basilar |linear )?scar(?:ring|s)?\b|peribronchial (?:thickening|cuffing)"
        r"|fibrosis|fibrotic|haziness|ground.?glass"
    ),
    "Lung Lesion": (
        r"nodul(?:e|es|ar (?:densit\w+|opaci\w+|lesions?|foc\w+))|mass(?:es)?\b(?! effect)|mass-?like|lung lesions?"
        r"|(?:pulmonary|cavitary|lytic lung) lesions?|carcinoma|neoplas\w+|tumou?rs?|metasta\w+ (?:disease|lesions?)"
    ),
    "Edema": (
        r"edema|heart failure|\bchf\b|(?:vascular|pulmonary|venous) congestion|kerley|vascular indistinctness"
        r"|indistinct(?:ness of)? (?:the )?(?:pulmonary )?vascul\w+"
    ),
    "Consolidation": r"\bconsolidat\w+",
    "Pneumonia": r"(?:broncho)?pneumoni(?:as?|tis)|infectious (?:process|etiology|infiltrate)|infection",
    "Atelectasis": (
        r"atelecta\w+|(?:lobar|lobe|lung) collapse|collapse of (?:the |a )?(?:\w+ ){0,5}(?:lobe|lung)"
        r"|collapsed (?:\w+ ){0,3}(?:lobe|lung)"
    ),
    "Pneumothorax": r"(?:hydro|hemo)?pneumothora\w+|\bptx\b",
    "Pleural Effusion": (
        r"(?<!pericardial )effusions?|pleural fluid|hydro(?:pneumo)?thorax|fluid in the (?:\w+ )?pleural space"
    ),
    "Pleural Other": (
        r"pleural(?: and \w+| based)? (?:thickening|plaques?|scar\w*|calcif\w+)|fibrothorax|pleuro-?parenchymal scar\w*"
        r"|thickening of the pleura|(?:bi)?apical (?:pleural )?(?:cap|capping|thickening)\b"
        r"|(?:effusions?|fluid) (?:versus|vs|or|and|and/or) (?:\w+ )?thickening"
    ),
    "Fracture": r"fractur\w+",
    "Support Devices": (
        r"pace ?makers?|\bpacer\b|\baicd\b|\bicd\b|defibrillator|picc|port-?a-?cath|mediport|chest port|infusion port"
        r"|catheters?|cannula|(?:endotracheal|tracheostomy|enteric|nasogastric|orogastric|feeding|chest|gastric|ng|et|"
        r"thoracostomy|drainage) tubes?|\btubes\b|\bett\b|tracheostomy|sternotomy(?: wires?)?|sternal wires?"
        r"|surgical clips|(?:central|venous|jugular|subclavian|arterial|monitoring) lines?|\blines and tubes"
        r"|hardware|\bstents?\b|prosthe\w+|(?:valve|aortic|mitral) replacement|arthroplast\w+"
        r"|support devices?|electrodes?|pacing leads?|leads? (?:in|over|project|terminat)\w*|balloon pump|\bdrains?\b"
    ),
    OTHER: (
        r"emphysema\w*|blunt\w*|eventration|scoliosis|degenerat\w+|\bcalcifi\w+|hyperinflat\w+|hyperexpan\w+|herni\w+"
        r"|\bcopd\b|granuloma\w*|atheroscler\w+|osteopeni\w+|kyphosis|bulla\w*|volume loss|deformit\w+|tortuo\w+"
        r"|ectasia|spondylo\w+|osteophyt\w+|hypertension|elevat\w+ (?:of )?(?:the )?(?:right |left )?hemidiaphragm"
        r"|contusion|pneumoperitoneum|pneumomediastinum|hemorrhage|bronchiectasis|lymphadenopathy|adenopathy"
    ),
}
"""Finding (or ``OTHER``) -> pattern of its mentions."""

NOT_MENTIONS: dict[str, str] = {
    "Edema": r"(?:soft tissue|subcutaneous|ankle|leg|pedal|peripheral) edema",
    "Pneumonia": r"(?:granulomatous|prior|old|previous|remote) (?:\w+ )?infections?",
    "Lung Lesion": (
        r"(?:breast|skin|thyroid) (?:nodules?|mass\w*)"
        r"|(?:detect\w*|identify|exclude|evaluat\w+ (?:for|of)|history of|assess\w* for) (?:an? |the |any |small )*"
        r"(?:\w+ ){0,4}(?:nodul\w+|mass\w*)"
    ),
    "Lung Opacity": r"nodular opaci\w+|pleural scar\w*|pleuro-?parenchymal scar\w*|radiopaci\w+|radio-opaci\w+",
}
"""Phrases that look like a mention of a finding and are none."""

_HEART = r"(?:heart|cardiac (?:size|silhouette|contours?|shadow)|cardio-?mediastinal (?:silhouette|contours?))"
_NORMAL = r"(?:within normal|normal|unremarkable|not enlarged|unchanged and normal)"
NORMAL_ANATOMY: dict[str, str] = {
    "Cardiomegaly": (
        rf"\b(?:heart|cardiac|cardio-?mediastinal)\b[^;]*?\b(?<!than ){_NORMAL}|\bnormal {_HEART}|normal heart size"
    ),
    "Enlarged Cardiomediastinum": (
        rf"\b(?:cardio-?)?mediastin\w+[^;]*?\b{_NORMAL}|\bnormal (?:\w+ ){{0,3}}(?:cardio-?)?mediastin\w+"
    ),
}
"""Statements that an organ is normal: a negative mention of its enlargement."""

BORDERLINE: dict[str, str] = {
    "Cardiomegaly": (
        r"(?:heart|cardiac)[^;]*?(?:borderline|upper (?:limits?|range) (?:of )?normal|mildly prominent)"
        r"|borderline (?:heart|cardiac|cardiomegaly|enlarged)"
    ),
}
"""Statements that leave an enlargement open."""

WEAK: dict[str, str] = {
    "Edema": r"congestion|indistinct\w*",
    "Pneumonia": r"infect\w+|pneumonitis",
    "Lung Lesion": r"nodular",
}
"""Mentions that make a finding possible, no more: congestion comes before edema, a nodular opacity may be a vessel."""

NOT_NEGATION = (
    r"\b(?:no|not|without)(?: (?:an?|any|significant(?:ly)?|substantial|interval|definite|appreciable|much|great))*"
    r" (?:change\w*|increase\w*|decrease\w*|progression|improvement|resol\w+|worsening|only)(?: (?:in|of))?"
)
"""Phrases that look like a negation and deny a change, not a finding."""

NEGATION_BEFORE = (
    r"\b(?:no|not|without|nor|neither|never|free of|clear of|negative for|absence of|absent|resolution of|resolved"
    r"|denies|rather than|lack of|exclude[sd]?|rule out|r/o)\b"
)
NEGATION_AFTER = (
    r"\b(?:(?:is|are|was|were) (?:not|no longer|absent)|(?:has|have) (?:resolved|cleared|been removed)|not (?:seen|"
    r"identified|present|visualized|appreciated|evident|detected)|resolved|removed|excluded|ruled out"
    r"|(?:is|are) (?:un)?likely excluded)\b"
)
UNCERTAIN_BEFORE = (
    r"\b(?:may|might|could|possibl[ey]|questionable|question|suspicious|suspected|suspicion|concern\w*|worrisome"
    r"|versus|vs|cannot exclude|can ?not exclude|not exclude|can't exclude|difficult to exclude|suggest\w*|equivocal"
    r"|perhaps|consider|either|differential|rule out|r/o)\b"
)
UNCERTAIN_AFTER = (
    r"\b(?:(?:cannot|can ?not|can't|not) be (?:\w+ )?excluded|not excluded|suspected|questioned"
    r"|(?:is|are|would be|could be|should be) (?:possible|considered|in the differential|a consideration)"
    r"|(?:may|might|could) be (?:present|considered))\b"
)
"""Of "one versus another" the first is the reader's choice and asserted; the second stands behind a cue and is open."""

SCOPE_END = (
    r"\b(?:but|however|although|though|except|which|yet|apart from|aside from|other than"
    r"|(?<!compatible )(?<!consistent )with (?!no\b|out\b))|;|:"
)
"""What ends the reach of a cue."""

TRIGGERS: dict[str, str] = {
    "Enlarged Cardiomediastinum": "media cardi",
    "Cardiomegaly": "cardi heart borde",
    "Lung Opacity": (
        "opaci infil air airsp densi inter retic scar scars scarr perib fibro hazin groun nodul haze hazy airwa"
    ),
    "Lung Lesion": "nodul mass masse massl lesio carci neopl tumor tumou metas micro malig",
    "Edema": "edema heart chf conge kerle vascu indis failu",
    "Consolidation": "conso",
    "Pneumonia": "pneum bronc infec",
    "Atelectasis": "atele colla subse",
    "Pneumothorax": "pneum hydro hemop ptx",
    "Pleural Effusion": "effus pleur hydro fluid hemot",
    "Pleural Other": "pleur fibro thick apica biapi effus fluid",
    "Fracture": "fract",
    "Support Devices": (
        "pacem pace pacer aicd icd defib picc port porta medip infus cathe cannu endot trach enter nasog orogr feedi"
        " gastr ng et thora drain tube tubes ett stern surgi clip clips centr venou jugul subcl arter monit line lines"
        " hardw stent prosth prost valve aorti mitra arthr suppo elect pacin lead leads ballo wire wires"
    ),
    OTHER: (
        "emphy blunt event scoli dextr levos degen calci hyper herni copd granu ather osteo kypho bulla volum defor"
        " tortu ectas spond eleva contu pneum hemor bronc lymph adeno"
    ),
}
"""Finding (or ``OTHER``) -> first five letters of words, or whole shorter words; each mention holds one of them."""
